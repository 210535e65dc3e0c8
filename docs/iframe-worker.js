// Search without a server. From a disk browsers start no worker, so the worker's script runs in a
// hidden frame, with the same two ways of talking to it. Named as the theme expects it to be.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inner = frame.contentWindow;
      inner.document.open();
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inner.document.write("<!doctype html><title>search</title>");
      inner.document.close();
      const script = inner.document.createElement("script");
      script.src = url;
      const ready = new Promise((resolve) => script.addEventListener("load", resolve));
      inner.document.head.appendChild(script);
      this.postMessage = (data) =>
        ready.then(() => inner.dispatchEvent(new inner.MessageEvent("message", { data })));
    }
  };
}
