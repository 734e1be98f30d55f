"""The faults of a pipeline that a canary of `traceprobe check --canary` has to find, one at a time.

What is wrong with the configuration of the probe is not here: `canary_faults.rs` changes it itself.
"""

from pathlib import Path

import deploy
import rights

FAULTS = ["no-right-to-put", "filter-pattern", "archive-orc", "give-up"]
# A term that no canary has. MiniStack takes it for a substring.
LETS_NOTHING_THROUGH = "no-line-has-this-term"


class Faults:
    def __init__(self, aws: deploy.Aws, tenants: list[deploy.Tenant], truth_file: Path) -> None:
        self._aws, self._tenants = aws, tenants
        self._switches = truth_file.with_name("faults")

    def put(self, name: str) -> None:
        """Puts one fault."""
        match name:
            case "no-right-to-put":
                self._grant(rights.Without("tenant-inject", "WriteCanariesToTheProbesLogStreamsOnly"))
            case "filter-pattern":
                self._filter(LETS_NOTHING_THROUGH)
            case "archive-orc" | "give-up":
                self._switches.write_text(name)
            case _:
                raise ValueError(f"unknown fault {name!r}")

    def mend(self) -> None:
        """Ends every fault."""
        self._grant(None)
        self._filter("")
        self._switches.unlink(missing_ok=True)

    def _grant(self, without: rights.Without | None) -> None:
        for tenant in self._tenants:
            iam = self._aws.root("iam", tenant.account)
            rights.grant_tenant(iam, tenant.account, tenant.external_id, tenant.log_groups, without)

    def _filter(self, pattern: str) -> None:
        for tenant in self._tenants:
            logs = self._aws.root("logs", tenant.account)
            for log_group in tenant.log_groups:
                logs.put_subscription_filter(
                    logGroupName=log_group, filterName=deploy.FILTER, filterPattern=pattern,
                    destinationArn=f"arn:aws:lambda:{deploy.REGION}:{tenant.account}:function:log-forwarder")
