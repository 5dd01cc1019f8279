"""Deploys what `prefect.yaml` lists.

`python -m flows.deployments deploy` (the bootstrap of the compose stack) makes the work pools and runs
`prefect deploy --all`. `python -m flows.deployments work --pool cpu` is a worker of the stack.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

POOLS = {
    "cpu": "Data, tokenizers, small models.",
    "gpu": "Training on a machine with a GPU.",
}


def form(config: str) -> dict[str, Any]:
    """Step of `prefect.yaml`: an experiment file, read, checked and resolved, as the first content of a run's form.

    Args:
        config: path of the experiment, relative to where `prefect deploy` runs.

    Returns:
        `{"config": ...}`, which `prefect.yaml` puts into the deployment's parameters as `{{ config }}`.

    Raises:
        UserError: there is no such file, or it says something impossible.
    """
    from flows.config import load_config

    return {"config": load_config(Path(config)).model_dump(mode="json")}


def make_pools() -> None:
    """Make the work pools that aren't there yet. One that is there keeps the settings that somebody gave it."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    with get_client(sync_client=True) as client:
        for name, description in POOLS.items():
            try:
                client.read_work_pool(name)
            except ObjectNotFound:
                pool = WorkPoolCreate(
                    name=name,
                    description=description,
                    type=ProcessWorker.type,
                    base_job_template=ProcessWorker.get_default_base_job_template(),
                    concurrency_limit=1,  # one run a machine: a second one waits in line instead of halving the first
                )
                client.create_work_pool(pool)
                print(f"work pool {name}: made")


def deploy_all() -> int:
    """`prefect deploy --all` in this folder. Returns its exit status."""
    return subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"], check=False).returncode


def main(arguments: list[str]) -> int:
    if arguments == ["deploy"]:
        make_pools()
        return deploy_all()
    if len(arguments) == 3 and arguments[:2] == ["work", "--pool"]:
        from flows.worker import work

        return work(arguments[2])
    print("usage: python -m flows.deployments deploy | work --pool NAME", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
