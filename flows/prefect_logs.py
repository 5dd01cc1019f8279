"""Prefect's own log goes to a file, so that the terminal belongs to our display."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

#: The handlers of Prefect's logging.yml that write to the terminal.
TERMINAL_HANDLERS = ("console", "debug")


def send_prefect_logs_to(file: Path) -> None:
    """Write what Prefect (and its embedded server, a child process) would print into ``file`` instead.

    Has to be called before Prefect is imported. Prefect takes a whole logging configuration or none, so this is its
    own one with the console swapped for a file; a configuration that the user set stays in force.
    """
    if os.environ.get("PREFECT_LOGGING_CONFIG_PATH") or os.environ.get("PREFECT_LOGGING_SETTINGS_PATH"):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_suffix(".logging.yml")
    temporary = written.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(logging_configuration(file), encoding="utf-8")
    temporary.replace(written)
    os.environ["PREFECT_LOGGING_CONFIG_PATH"] = str(written)


def logging_configuration(file: Path) -> str:
    """Prefect's logging.yml with its two terminal handlers replaced by one that appends to ``file``."""
    import importlib.util

    import yaml

    found = importlib.util.find_spec("prefect")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("prefect is not installed")
    shipped = Path(found.origin).parent / "logging" / "logging.yml"
    settings: dict[str, Any] = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    settings["formatters"]["file"] = {
        "format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        "datefmt": "%Y-%m-%d %H:%M:%S",
    }
    # A new name, because PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL and its like are about the terminal.
    settings["handlers"] = {name: kept for name, kept in settings["handlers"].items() if name not in TERMINAL_HANDLERS}
    settings["handlers"]["logfile"] = {
        "class": "logging.FileHandler",
        "level": "INFO",
        "formatter": "file",
        "filename": str(file).replace("$", "$$"),  # Prefect fills in $SETTING when it reads this file
        "encoding": "utf-8",
        "delay": True,
    }
    for logger in (*settings["loggers"].values(), settings["root"]):
        handlers = logger.get("handlers", ())
        logger["handlers"] = ["logfile" if name in TERMINAL_HANDLERS else name for name in handlers]
    return yaml.safe_dump(settings, sort_keys=False)
