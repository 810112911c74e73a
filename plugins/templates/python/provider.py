"""PLUGIN_ID: starts the program of that name.

To read the operator's [settings]: `from wit_world.imports import host`, then `host.settings()`. What is printed goes to
the relay's log, and so does the traceback of an exception.
"""

import json

import relay  # noqa: F401
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.provider import (
    Description,
    LaunchPlan,
    LaunchSite,
    Message,
    PlanError_UnsupportedApprovalMode,
    Presentation,
    PromptDelivery_InArguments,
    PromptDelivery_Typed,
    Readiness,
    SpawnRequest,
    StopPlan,
    StopReason,
)
from wit_world.imports.types import ApprovalMode


class Provider(exports.Provider):
    def describe(self) -> Description:
        return Description(
            id="PLUGIN_ID",
            version="0.1.0",
            executables=["PLUGIN_ID"],
            approval_modes=[ApprovalMode.GUARDED],
            takes_prompt=True,
            extensions=[],
        )

    def check_settings(self, settings: str) -> None:
        if json.loads(settings):
            raise Err("there are no settings: remove everything below [settings]")

    def plan(self, request: SpawnRequest, site: LaunchSite) -> LaunchPlan:
        if request.approval_mode != ApprovalMode.GUARDED:
            raise Err(PlanError_UnsupportedApprovalMode(request.approval_mode))
        return LaunchPlan(
            program="PLUGIN_ID",
            args=[],
            env=[],
            cwd=site.cwd,
            files=[],
            prompt=PromptDelivery_InArguments() if request.prompt is None else PromptDelivery_Typed(),
            # Name a text that only its input shows; without one the relay looks for what looks like an input.
            ready=Readiness(screen_texts=[], settle_ms=1000),
            extensions=[],
        )

    def present(self, message: Message) -> Presentation:
        return Presentation(keys_before=[], text=message.body, submit=True)

    def stop(self, reason: StopReason) -> StopPlan:
        return StopPlan(keys=["C-c"], grace_ms=5000)
