"""Policy `conformance` in Python. What it answers is in ../README.md."""

import dataclasses
import enum
import json

import wit_world
from componentize_py_types import Err
from wit_world.exports import policy
from wit_world.imports import host
from wit_world.imports.types import ApprovalMode


def shown(value: object) -> str:
    """A value of any type of the interface. The names of fields are those of wit/ but for their dashes."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, enum.Enum):
        return value.name.lower().replace("_", "-")
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    if isinstance(value, (policy.Target_Agent, policy.Target_EveryAgentOf)):
        case = "agent" if isinstance(value, policy.Target_Agent) else "every-agent-of"
        return "{" + case + shown(value.value) + "}"
    fields = [field.name for field in dataclasses.fields(value)]
    return "{" + ",".join(f"{name.replace('_', '-')}={shown(getattr(value, name))}" for name in fields) + "}"


def line(control: policy.Control, context: policy.Context) -> str:
    kinds = {policy.Control_Spawn: "spawn", policy.Control_Restart: "restart", policy.Control_Shutdown: "shutdown"}
    return f"{kinds[type(control)]}{shown(control.value)} context{shown(context)}"


def deny(code: str, reason: str) -> policy.Verdict:
    return policy.Verdict_Deny(policy.Denial(code, reason))


def amend(cwd: str | None, approval_mode: ApprovalMode | None) -> policy.Verdict:
    return policy.Verdict_Amend(policy.Amendment(cwd, approval_mode, "amended as asked"))


class Policy(wit_world.exports.Policy):
    def describe(self) -> policy.Description:
        return policy.Description("conformance", "0.1.0", list(policy.ControlKind), [])

    def check_settings(self, settings: str) -> None:
        for key, value in json.loads(settings).items():
            if key == "refuse":
                raise Err(f"settings.refuse: {value}")
            if key != "note":
                raise Err(f"settings.{key}: unknown")

    def decide(self, control: policy.Control, context: policy.Context) -> policy.Verdict:
        spawn = control.value if isinstance(control, policy.Control_Spawn) else None
        match spawn and spawn.label:
            case "allow":
                return policy.Verdict_Allow()
            case "deny":
                return deny("conformance", "denied as asked")
            case "amend-cwd":
                return amend(f"{spawn.cwd.normalised}/narrower", None)
            case "amend-mode":
                return amend(None, ApprovalMode.READ_ONLY)
            case "amend-both":
                return amend(f"{spawn.cwd.normalised}/narrower", ApprovalMode.READ_ONLY)
            case "error":
                raise Err("nothing is known, as asked")
            case "log":
                for level in host.Level:
                    host.log(level, f"a line at {level.name.lower()}")
                return policy.Verdict_Allow()
            case "settings":
                return deny("settings", host.settings())
            case _:
                return deny("echo", line(control, context))
