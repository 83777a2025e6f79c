"""`frazil up`, and the same roles one by one: `serve`, `process`, `live`, `maintain`."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from frazil.cli import session
from frazil.cli.output import DryRun, say
from frazil.errors import EXIT_FAILED, EXIT_USAGE, ConfigError

if TYPE_CHECKING:
    from frazil.engine.supervisor import Role

Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the API; 0 takes a free one.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Contracts = Annotated[list[str] | None, typer.Option("--contract", "-c", help="Only this contract; may be repeated. Default: all.")]
_PORT_HINT = "stop the other program, or choose another port with --port"


def register(app: typer.Typer) -> None:
    for command in (up, serve, process, live, maintain):
        app.command()(command)


def up(port: Port = None, host: Host = None) -> None:
    """Run everything in one go: API, processing, maintenance, pipelines. Ctrl-C drains and stops."""
    from frazil import telemetry
    from frazil.api.guard import check_binding
    from frazil.cli.readiness import Readiness
    from frazil.engine.supervisor import Role, Supervisor, command

    telemetry.configure()
    project = session.project()
    settings = project.settings
    names = sorted(project.contracts)  # a broken contract is an error here, not in three children
    if settings.default_contract is not None:
        project.contract()
    address = host or settings.api.host
    check_binding(address, settings.api.auth)
    number = _free(address, settings.api.port if port is None else port)
    url = f"http://{address}:{number}"
    where = ["--project", str(settings.root)] + ([] if session.chosen.profile is None else ["--profile", session.chosen.profile])
    usage = frozenset({EXIT_USAGE})
    roles: list[Role] = [
        Role("serve", command(*where, "serve", "--host", address, "--port", str(number), "--quiet"), usage | {EXIT_FAILED}),
        Role("schedule", command(*where, "schedule"), usage),
        Role("process", command(*where, "process"), usage),
        Role("maintain", command(*where, "maintain"), usage),
    ]
    if project.windows:
        roles.insert(3, Role("live", command(*where, "live"), usage))
    readiness = Readiness(url)

    def ready() -> bool:
        if not readiness():
            return False
        say(f"[bold green]Frazil is up[/] after {readiness.seconds:.1f} s, contracts: {', '.join(names)}\n")
        say(f"  events    POST {url}/api/v1/ingest")
        say(f"  docs      {url}/docs")
        say(f"  health    {url}/api/v1/health")
        say(f"  metrics   {url}/api/v1/metrics")
        if project.windows:
            say(f"  windows   {url.replace('http', 'ws', 1)}/api/v1/live/windows/NAME: {', '.join(project.windows)}")
        say("\nCtrl-C drains and stops. In a second terminal: [bold]frazil status[/]\n")
        return True

    raise typer.Exit(Supervisor(roles, ready).run())


def serve(
    port: Port = None,
    host: Host = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the port.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", hidden=True)] = False,
) -> None:
    """Run the HTTP API."""
    import os

    from frazil import api, telemetry

    telemetry.configure()
    if session.chosen.profile is not None:
        os.environ["FRAZIL_PROFILE"] = session.chosen.profile  # runs that the API starts are of this project as it is served
    try:
        api.serve(session.project(), host, port, workers, ready=None if quiet else lambda url: say(f"serving {url}/docs"))
    except ConfigError as error:
        raise _with_port_hint(error) from error


def process(
    contract: Contracts = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when the logs have nothing more.")] = False,
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics here.")] = None,
    lease: Annotated[
        bool, typer.Option("--lease/--no-lease", hidden=True, help="Race with other processes: slow, and just as right.")
    ] = True,
) -> None:
    """Land what is in the logs. Exit 78: a contract waits for an operator; 75: a system did not answer."""
    from frazil import telemetry
    from frazil.engine import lines
    from frazil.engine.beside import letters_beside

    telemetry.configure()
    project = session.project()
    names = [project.contract(name).name for name in contract] if contract else sorted(project.contracts)
    engine = lines.engine(project.settings, names, until_idle=until_idle, lease=lease)
    if metrics_port is not None:
        _serve_metrics(project.settings.api.host, metrics_port)
    _on_signal(engine.stop)
    with letters_beside(project.settings, names):
        code = engine.run()
    raise typer.Exit(code)


def live(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when the logs have nothing more.")] = False,
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics here.")] = None,
) -> None:
    """Count events into the live windows of windows.yaml. Exit codes as of `process`."""
    from frazil import telemetry
    from frazil.engine import windows

    telemetry.configure()
    project = session.project()
    engine = windows.engine(project.settings, until_idle=until_idle)
    if engine is None:
        raise ConfigError("this project has no windows", code="windows.none", hint="write windows.yaml; docs/windows.md shows how")
    if metrics_port is not None:
        _serve_metrics(project.settings.api.host, metrics_port)
    _on_signal(engine.stop)
    raise typer.Exit(engine.run())


def _serve_metrics(host: str, port: int) -> None:
    from prometheus_client import start_http_server

    from frazil import telemetry

    try:
        start_http_server(port, addr=host, registry=telemetry.registry)
    except OSError as error:
        code = "config.port_in_use" if error.errno == errno.EADDRINUSE else "config.bad_address"
        raise ConfigError(
            f"metrics cannot be served at {host}:{port}: {error.strerror}",
            hint="choose another port with --metrics-port",
            code=code,
            host=host,
            port=port,
        ) from error


def maintain(
    once: Annotated[bool, typer.Option("--once", help="Do everything that is due, then end.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between rounds.")] = 60.0,
    dry_run: DryRun = False,
) -> None:
    """Keep tables and logs in shape: expire snapshots, compact small files, apply retention, delete orphans of three days.

    The first run of a project only counts orphans.
    """
    from frazil import telemetry
    from frazil.engine.upkeep import Keeper

    telemetry.configure()
    stop = threading.Event()
    _on_signal(stop.set)
    keeper = Keeper(session.project(), dry_run=dry_run)
    code = keeper.round()
    while not once and not stop.wait(every):
        code = keeper.round()
    raise typer.Exit(code if once else 0)


def _on_signal(act: object) -> None:
    """First SIGINT or SIGTERM: end in good order. Second: end now."""
    seen: list[int] = []

    def signalled(number: int, frame: object) -> None:
        if seen:
            sys.exit(128 + number)
        seen.append(number)
        act()  # type: ignore[operator]

    signal.signal(signal.SIGINT, signalled)
    signal.signal(signal.SIGTERM, signalled)


def _free(host: str, port: int) -> int:
    """The port, once it is known to be free. Raises ConfigError `config.port_in_use`."""
    from frazil.api import bind

    try:
        taken = bind(host, port)
    except ConfigError as error:
        raise _with_port_hint(error) from error
    number = int(taken.getsockname()[1])
    taken.close()
    return number


def _with_port_hint(error: ConfigError) -> ConfigError:
    if error.code != "config.port_in_use":
        return error
    return ConfigError(error.message, hint=_PORT_HINT, code=error.code, **dict(error.context))
