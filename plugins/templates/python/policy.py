"""PLUGIN_ID: nobody starts an agent that asks for nothing.

To read the operator's [settings]: `from wit_world.imports import host`, then `host.settings()`. What is printed goes to
the relay's log, and so does the traceback of an exception.
"""

import json

import relay  # noqa: F401
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.policy import (
    Context,
    Control,
    Control_Spawn,
    ControlKind,
    Denial,
    Description,
    Verdict,
    Verdict_Allow,
    Verdict_Deny,
)
from wit_world.imports.types import ApprovalMode


class Policy(exports.Policy):
    def describe(self) -> Description:
        return Description(id="PLUGIN_ID", version="0.1.0", kinds=[ControlKind.SPAWN], extensions=[])

    def check_settings(self, settings: str) -> None:
        if json.loads(settings):
            raise Err("there are no settings: remove everything below [settings]")

    def decide(self, control: Control, context: Context) -> Verdict:
        if isinstance(control, Control_Spawn) and control.value.approval_mode == ApprovalMode.OPEN:
            return Verdict_Deny(Denial(code="open_mode", reason="ask for approval mode guarded or read-only"))
        return Verdict_Allow()
