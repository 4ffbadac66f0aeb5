"""`GET /api/v1/subjects/{source}/{subject}`: the state in force of one subject, whatever order its states arrived in.

The answer is the whole event, as everywhere else, with `counts` beside its members.
"""

from hookseal.api import wire
from hookseal.api.operation import Answer, Call, Document, Operation, Parameter
from hookseal.api.schemas import ref
from hookseal.api.values import SOURCE, TEXT
from hookseal.manage.operations import Management


def operation(management: Management, path: str) -> Operation:
    async def get_subject(call: Call) -> Answer:
        return Document(wire.in_force(await management.in_force(call.path["source"], call.path["subject"])))

    return Operation(
        name="getSubject",
        method="GET",
        path=f"{path}/{{source}}/{{subject}}",
        summary="The state in force of one subject: of its events the one that no later state supersedes.",
        handler=get_subject,
        path_parameters=(
            Parameter("source", SOURCE, "the source's id"),
            Parameter("subject", TEXT, "the provider's own reference; it may hold slashes", spans=True),
        ),
        schema=ref("Subject"),
    )
