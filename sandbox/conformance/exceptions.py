"""Which of Microsoft's tests do not count, one by one, and why."""

from typing import Final

_WEB_SOCKET = "connects over a WebSocket; the broker speaks AMQP over TCP only"
_SERVICE_PORT = "needs TLS on the service's own port, 5671, with a public certificate"

EXCLUDED: Final[dict[str, str]] = {
    "test_queues_async::test_async_queue_send_twice[pyamqp]": _WEB_SOCKET,
    "test_queues_async::test_async_queue_send_timeout[pyamqp]": _WEB_SOCKET,
    "test_queues_async::test_async_queue_send_large_message_receive[pyamqp]": _WEB_SOCKET,
    "test_queues_async::test_queue_message_amqp_over_websocket[pyamqp]": _WEB_SOCKET,
    "test_sb_client_async::test_sb_client_with_ssl_context_async[ws-pyamqp]": _WEB_SOCKET,
    "test_sb_client_async::test_sb_client_with_ssl_context_async[amqp-pyamqp]": _SERVICE_PORT,
    "test_queues_async::test_async_queue_operation_negative[pyamqp]": (
        "replaces a function of the client by one of its older form, without `await_outcome`"
    ),
    "test_queues_async::test_async_queue_mock_auto_lock_renew_callback": (
        'skipped by Microsoft itself: "hard to test"'
    ),
}

KNOWN_FAILURES: Final[dict[str, str]] = {
    "test_sessions_async::test_async_next_available_session_timeout_value[pyamqp]": (
        "expects the client to wait 65 s for a session although it asks for 5; the client itself "
        "gives up opening the link after those 5"
    ),
}

# What takes minutes, longest first, so that it begins first.
SLOWEST: Final = (
    "test_queue_receive_keep_conn_alive_async[pyamqp]",
    "test_async_session_connection_failure_is_idempotent[pyamqp]",
    "test_github_issue_6178_async[pyamqp]",
    "test_async_session_cancel_scheduled_messages[pyamqp]",
    "test_async_session_schedule_message[pyamqp]",
    "test_async_queue_cancel_scheduled_messages[pyamqp]",
    "test_async_queue_schedule_multiple_messages[pyamqp]",
    "test_async_session_schedule_multiple_messages[pyamqp]",
    "test_async_queue_schedule_message[pyamqp]",
)
