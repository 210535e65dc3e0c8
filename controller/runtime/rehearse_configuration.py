"""Drills a set's configuration: restores it to a site in memory, as it would be to a real one."""

from dataclasses import dataclass, replace

from controller.adapters.memory.site import MemorySite
from controller.core.errors import PermanentError
from controller.core.plan import PRODUCTION, SlotName
from controller.recovery.site import SiteDocument
from controller.recovery.site_check import notes, problems
from controller.recovery.site_goal import RELEASE_OWNED
from controller.runtime.backups_parts import PartWanted
from controller.runtime.backups_tell import Tell, tell_nobody
from controller.runtime.restore_configuration import ConfigurationRestorer, site_document


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRehearsal:
    """What came of restoring a set's configuration to an empty site in memory."""

    changes: int = 0  # what was written
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


async def rehearse_configuration(
    wanted: PartWanted, tell: Tell = tell_nobody
) -> ConfigurationRehearsal:
    """Restore the part to an empty site in memory, read it back, compare it with the document.

    The part is read to its end. What is wrong with it is a problem, never an error.

    Raises:
        TransientError: the part cannot be read now.
    """
    slots = wanted.subject.app.target.slots
    try:
        document = await site_document(wanted)
        done, wrong = await _restored(document, wanted)
    except PermanentError as error:
        return ConfigurationRehearsal(problems=(f"configuration: {error.what}",))
    wrong += problems(document, (PRODUCTION, *slots))
    await tell(
        f"{wanted.manifest.id}: the configuration of {len(document.slots)} slots was restored to"
        f" an empty site in memory ({done} changes) and compared: {len(wrong) or 'no'} problems"
    )
    return ConfigurationRehearsal(
        changes=done,
        problems=tuple(f"configuration: {each}" for each in wrong),
        notes=tuple(f"configuration: {each}" for each in notes(document)),
    )


async def _restored(document: SiteDocument, wanted: PartWanted) -> tuple[int, list[str]]:
    """Restore by the very code that restores to a platform: nobody is served, no rollout runs.

    Return how much was written, and what is not as the document has it.
    """
    names = (SlotName(name) for name in document.slots if name.lower() != PRODUCTION)
    target = replace(wanted.subject.app.target, slots=tuple(names))
    site = MemorySite(target.resource_id, target.slots)
    restorer = ConfigurationRestorer(sites=site, writer=site)
    done = await restorer.apply(document, wanted, target, tell_nobody)
    again = await restorer.look(document, target)
    wrong = [f"a second restore would write again: {change}." for change in again.changes]
    return len(done), [*wrong, *_differences(document, site)]


def _differences(document: SiteDocument, site: MemorySite) -> list[str]:
    """Compare value for value what stands in the site with the document."""
    found: list[str] = []
    owned = {name.lower() for name in RELEASE_OWNED}
    for name, then in sorted(document.slots.items()):
        now = site.slots[PRODUCTION if name.lower() == PRODUCTION else name]
        settings = {key: text for key, text in then.settings.items() if key.lower() not in owned}
        if settings != now.settings:
            found.append(f"{name}: its settings did not come back.")
        if then.connection_strings != now.connection_strings:
            found.append(f"{name}: its connection strings did not come back.")
    return found
