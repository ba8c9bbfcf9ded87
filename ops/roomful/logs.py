"""Logs to stdout: one chain of processors, coloured lines on a terminal, JSON otherwise.

Events have a name and fields, no sentences; `ops/README.md` lists every one of them. What aiohttp,
nats and asyncio say through the standard library arrives as the event `library.message`.
"""

import logging
import sys
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

Format = Literal["auto", "console", "json"]
Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(
    format: Format, level: Level, *, node: str, stream: TextIO | None = None
) -> FilteringBoundLogger:
    """Set up logging for this process (the one global thing there is), and return a logger.

    Every line that this context and its tasks write from now on bears `node`.
    """
    out = stream or sys.stdout
    terminal = out.isatty()
    structlog.configure(
        processors=_chain(format == "console" or (format == "auto" and terminal), terminal),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        # For the process's own output this is final: then a line that is not wanted costs half.
        cache_logger_on_first_use=stream is None,
    )
    structlog.contextvars.bind_contextvars(node=node)
    log: FilteringBoundLogger = structlog.get_logger()
    # Libraries are asked for what they warn of; their chatter only on request.
    logging.basicConfig(
        handlers=[_Libraries(log)],
        level=logging.DEBUG if level == "debug" else max(_LEVELS[level], logging.WARNING),
        force=True,
    )
    logging.captureWarnings(capture=True)
    return log


def _chain(console: bool, colours: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
    ]
    if console:
        plain = structlog.dev.plain_traceback
        return [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            *shared,
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain),
        ]
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *shared,
        # As text, without the values of local variables: those may be secrets.
        structlog.processors.format_exc_info,
        _what_first,
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    ]


def _what_first(_: object, __: str, event: EventDict) -> EventDict:
    """When, how bad and what, then the rest: lines stay readable without a tool."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return {**head, **event}


def _is_no_http(record: logging.LogRecord) -> bool:
    """Whether it says that somebody's request was none: strangers must not fill the log."""
    raised = record.exc_info[1] if record.exc_info else None
    return type(raised).__module__ == "aiohttp.http_exceptions"


class _Libraries(logging.Handler):
    """Passes on what the standard library's loggers are told."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        no_http = _is_no_http(record)
        try:
            self._log.log(
                logging.DEBUG if no_http else record.levelno,
                "library.message",
                library=record.name,
                message=record.getMessage(),
                exc_info=None if no_http else record.exc_info,
            )
        except Exception:
            # A library's broken format string must not end whoever called it.
            self.handleError(record)
