"""Migration tables: a name of another program, the topic here, the difference."""

from collections.abc import Iterator, Mapping
from typing import Final

from bridge.conventions.homeassistant.entities import Entity, entities, equalizer_entities
from bridge.core.addressees import CHARGER
from bridge.core.easee.command_catalogue import CATALOGUE, allowed
from bridge.core.easee.selection import Selection
from bridge.core.topics import Topics
from bridge.exports.markdown import code, table
from bridge.exports.other_projects import PROJECTS, OldName, Project
from bridge.exports.tag_list import ANY_CHARGER, ANY_EQUALIZER
from bridge.settings import Settings

NOTHING: Final = "-"
# By action: an entity shows or sets a value, the rest of the commands are published.
BY_ACTION: Final = "action `mqtt.publish`"


def other_names(name: str, settings: Settings) -> str:
    """Write the table of one project for the chargers of a configuration.

    Args:
        name: A key of ``PROJECTS``.
        settings: Base topic, chargers, and what may be commanded.
    """
    project = PROJECTS[name]
    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    chargers = settings.easee.chargers or (ANY_CHARGER,)
    parts = [_charger_table(project, charger, topics, settings) for charger in chargers]
    return "\n\n".join((f"# Moving over from {project.title}", *parts))


def _charger_table(project: Project, charger: str, topics: Topics, settings: Settings) -> str:
    return f"## {charger}\n\n" + table(heads(project), rows(project, charger, topics, settings))


def heads(project: Project) -> tuple[str, ...]:
    """Name the columns."""
    return (project.called, "topic", *(("entity",) if project.has_entities else ()), "note")


def rows(
    project: Project, charger: str, topics: Topics, settings: Settings
) -> Iterator[tuple[str, ...]]:
    """Build the rows of one charger.

    Args:
        project: Whose names.
        charger: Its serial, or what stands for it.
        topics: The topic tree.
        settings: What may be commanded decides which entities and commands there are.
    """
    asked = (topics, settings.commands, Selection.of(settings.publish))
    shown = _entities_by_topic(
        (*entities(charger, *asked), *equalizer_entities(ANY_EQUALIZER, *asked))
    )
    for old in project.names:
        topic, is_allowed = topic_of(old, charger, topics), _is_allowed(old, settings)
        yield (
            code(old.name.replace("<id>", charger)),
            code(topic) if topic else NOTHING,
            *((_entity(shown, topic, old, is_allowed=is_allowed),) if project.has_entities else ()),
            old.note if is_allowed else _refused(old),
        )


def topic_of(old: OldName, charger: str, topics: Topics) -> str:
    """Return our topic for an old name; empty where there is none."""
    kind, _, name = old.ours.partition("/")
    if kind == "set" and CHARGER not in CATALOGUE[name].of:
        charger = ANY_EQUALIZER
    builders = {
        "state": topics.state,
        "equalizer": lambda _, state: topics.state(ANY_EQUALIZER, state),
        "observation": topics.observation,
        "session": topics.session,
        "set": topics.command,
        "get": topics.query,
        "result": topics.result,
    }
    whole = {
        "": "",
        "availability": topics.availability(charger),
        "bridge/state": topics.bridge_state,
        "bridge/cloud": topics.bridge_cloud,
        "bridge/info": topics.bridge_info,
    }
    return whole[old.ours] if old.ours in whole else builders[kind](charger, name)


def _is_allowed(old: OldName, settings: Settings) -> bool:
    kind, _, name = old.ours.partition("/")
    return kind != "set" or allowed(CATALOGUE[name], settings.commands.allow)


def _refused(old: OldName) -> str:
    refusal = "**not in `commands.allow`**"
    return f"{refusal}; {old.note}" if old.note else refusal


def _entities_by_topic(own: tuple[Entity, ...]) -> Mapping[str, str]:
    """Name the first entity of each topic: the one that shows it, or the one that commands it."""
    found: dict[str, str] = {}
    for entity in own:
        topic = entity.config.get("command_topic", entity.config.get("state_topic"))
        found.setdefault(str(topic), f"{entity.config.get('name')} ({entity.platform})")
    return found


def _entity(shown: Mapping[str, str], topic: str, old: OldName, *, is_allowed: bool) -> str:
    otherwise = BY_ACTION if is_allowed and old.ours.startswith("set/") else NOTHING
    return shown.get(topic, otherwise)
