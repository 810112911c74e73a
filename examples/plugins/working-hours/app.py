"""Policy `working-hours`: agents are started on working days between two times of the day.

A plugin is a pure function: it runs in a fresh instance for each call, with no file, no network and
no clock. The time is the one that the relay gives with the question, and the time zone is a fixed
distance from UTC, because a plugin has no time zone database either: change the setting when
the clocks change.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.exports import policy
from wit_world.imports import host

DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DEFAULTS = {
    "days": DAYS[:5],
    "from": "08:00",
    "to": "18:00",
    "utc_offset_minutes": 0,
    "exempt": [],
}
MINUTES_OF_A_DAY = 24 * 60
EXEMPT_MAX = 100


def minutes(key: str, value: object) -> int:
    """The minute of the day that a text like "08:30" stands for; "24:00" is the end of the day."""
    parts = value.split(":") if isinstance(value, str) else []
    if len(parts) == 2 and all(len(part) == 2 and part.isascii() and part.isdigit() for part in parts):
        hour, minute = int(parts[0]), int(parts[1])
        if minute < 60 and hour * 60 + minute <= MINUTES_OF_A_DAY:
            return hour * 60 + minute
    raise Err(f'settings.{key}: must be a time of the day in quotation marks, such as "08:30"')


def names(key: str, value: object, allowed: list[str] | None) -> list[str]:
    """A list of texts, each of which is among `allowed` where there is such a list."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value) or len(value) > EXEMPT_MAX:
        raise Err(f"settings.{key}: must be a list of at most {EXEMPT_MAX} texts")
    for name in value:
        if allowed is not None and name not in allowed:
            raise Err(f'settings.{key}: "{name}" is unknown; known are {", ".join(allowed)}')
    return value


class Settings:
    """What the operator may set, read and checked."""

    def __init__(self, text: str):
        given = json.loads(text)
        for key in given:
            if key not in DEFAULTS:
                raise Err(f'settings.{key}: unknown; known are {", ".join(DEFAULTS)}')
        values = DEFAULTS | given
        self.days = names("days", values["days"], DAYS)
        self.begin = minutes("from", values["from"])
        self.end = minutes("to", values["to"])
        if self.begin == self.end:
            raise Err('settings.to: must differ from `from`; for the whole day say "00:00" to "24:00"')
        self.offset = values["utc_offset_minutes"]
        # `True` is an int in Python, and no number of minutes.
        if type(self.offset) is not int or abs(self.offset) > 14 * 60:
            raise Err("settings.utc_offset_minutes: must be a whole number of -840 to 840, such as 60")
        self.exempt = names("exempt", values["exempt"], None)

    def open_at(self, now_ms: int) -> bool:
        """Whether agents may be started at this moment."""
        local = now_ms // 60_000 + self.offset
        day, minute = divmod(local, MINUTES_OF_A_DAY)
        # The first of January 1970 was a Thursday.
        weekday = (day + 3) % 7
        if self.begin < self.end:
            return DAYS[weekday] in self.days and self.begin <= minute < self.end
        # A night shift belongs to the day on which it begins.
        if minute >= self.begin:
            return DAYS[weekday] in self.days
        return minute < self.end and DAYS[(weekday - 1) % 7] in self.days

    def hours(self) -> str:
        """The working hours, as a caller is told them."""
        sign = "-" if self.offset < 0 else "+"
        hours, rest = divmod(abs(self.offset), 60)
        days = ", ".join(day for day in DAYS if day in self.days) or "no day"
        return f"{days}, {clock(self.begin)} to {clock(self.end)} (UTC{sign}{hours:02}:{rest:02})"


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


class Policy(wit_world.exports.Policy):
    """What the component exports: its name and its methods are those of the interface."""

    def describe(self) -> policy.Description:
        # Restarts and shutdowns are no new work: they may happen at any time.
        return policy.Description("working-hours", "0.1.0", [policy.ControlKind.SPAWN], [])

    def check_settings(self, settings: str) -> None:
        Settings(settings)

    def decide(self, control: policy.Control, context: policy.Context) -> policy.Verdict:
        if not isinstance(control, policy.Control_Spawn):
            return policy.Verdict_Allow()
        settings = Settings(host.settings())
        if context.caller.name in settings.exempt or settings.open_at(context.now_ms):
            return policy.Verdict_Allow()
        reason = f"agents are started within working hours: {settings.hours()}; ask again then, or ask somebody exempt"
        return policy.Verdict_Deny(policy.Denial("outside_working_hours", reason))
