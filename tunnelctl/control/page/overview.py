"""The upper part of the page: what the program is, what deserves attention, its sums, and what it listens on and leads to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tunnelctl.control.page.markup import counted, day, moment, text
from tunnelctl.control.page.table import Column, table
from tunnelctl.control.snapshot import CertificateFacts, Note, Recent, Status, Tunnels
from tunnelctl.control.units import rate, size, span

WARNING_DAYS = 14  # what is left of a certificate: renewal programs act at 30, so by then one has failed
SILENT_SECONDS = 5.0  # a worker's loop turns every second when nothing happens
TEXT = 200  # characters of a warning


def title(status: Status) -> str:
    """Returns the heading of the page."""
    version = f"<span>version {text(status.version)}</span>"
    begun = f"<span>started {moment(status.started, status.now)}</span>"
    return (
        f'<h1>tunnelctl {text(status.command)} <b>{text(status.name)}</b></h1>\n<p class="facts">{version}'
        f"<span>process {status.pid}</span>{begun}</p>"
    )


def notices(status: Status, silent: int) -> str:
    """Returns what an operator should know before anything else. silent: workers that have not answered"""
    found = [*_certificate_notice(status.certificate)]
    if status.draining:
        left = counted(status.tunnels, "tunnel")
        found.append(("warn", f"Draining: new connections are not accepted; {left} still open."))
    if silent:
        found.append(("warn", f"{counted(silent, 'worker')} did not answer: the tunnels and counts there are missing below."))
    return "".join(f'<p class="notice {kind}">{words}</p>\n' for kind, words in found)


def _certificate_notice(certificate: CertificateFacts | None) -> Iterable[tuple[str, str]]:
    if certificate is not None and certificate.days < 0:
        yield "bad", f"The certificate of this server expired on {day(certificate.ends)}."
    elif certificate is not None and certificate.days <= WARNING_DAYS:
        yield "warn", f"The certificate of this server expires in {counted(certificate.days, 'day')}, on {day(certificate.ends)}."


def sums(status: Status, tunnels: Tunnels, recent: Recent) -> str:
    """Returns the numbers that sum everything up."""
    refused = sum(one.number for one in recent.refusals)
    if status.command == "serve":  # most clients send no login before they are asked: those requests are not refused for good
        refused -= sum(one.number for one in recent.refusals if one.status == 407) - recent.failed_logins
    figures = (
        ("Open tunnels", f"{status.tunnels:,}", ""),
        ("Connections", f"{status.connections:,}", ""),
        ("Sent to targets", size(status.sent), rate(_sum([one.sent_rate for one in tunnels.tunnels]))),
        ("Received from targets", size(status.received), rate(_sum([one.received_rate for one in tunnels.tunnels]))),
        ("Refused", f"{refused:,}", ""),
        ("Failed logins", f"{recent.failed_logins:,}", ""),
    )
    return f'<dl class="sums">{"".join(map(_figure, figures))}</dl>\n'


def _sum(rates: Sequence[float | None]) -> float | None:
    known = [one for one in rates if one is not None]
    return sum(known) if known or not rates else None


def _figure(figure: tuple[str, str, str]) -> str:
    name, value, beside = figure
    return f"<div><dt>{name}</dt><dd>{value}{beside and f' <small>{beside}</small>'}</dd></div>\n"


def panels(status: Status) -> str:
    """Returns what the program was set up to do, and how it does; without the parts that it has not."""
    found = [_panel("listeners", "Listens on", _listeners(status)), _panel("route", "Route", _route(status.route))]
    if status.workers:
        found.append(_panel("workers", "Workers", table("workers", _WORKERS, status.workers)))
    if status.certificate is not None:
        found.append(_panel("certificate", "Certificate", _certificate(status.certificate)))
    found.append(_panel("reloads", "Reloads", _notes(status.reloads, status.now, "No reload since the start.")))
    found.append(_panel("warnings", "Warnings", _notes(status.warnings, status.now, "None.")))
    return f'<div class="panels">\n{"".join(found)}</div>\n'


def _panel(name: str, heading: str, content: str) -> str:
    return f'<section aria-labelledby="{name}-title"><h2 id="{name}-title">{heading}</h2>\n{content}</section>\n'


_WORKERS = (
    Column("Worker", lambda one: str(one.number)),
    Column("Process", lambda one: str(one.pid)),
    Column("State", lambda one: "responds" if one.silence < SILENT_SECONDS else f"<em>silent for {span(one.silence)}</em>"),
)


def _listeners(status: Status) -> str:
    chosen = "what its rules allow" if status.command == "serve" else "any target"
    columns = (
        Column("Address", lambda one: text(one.address)),
        Column("Leads to", lambda one: text(one.target) if one.target else chosen),
    )
    return table("listeners", columns, status.listeners) if status.listeners else '<p class="none">Nothing.</p>'


def _route(route: Sequence[str]) -> str:
    proxies = "".join(f"<li>{text(either.replace(',', ' or '), TEXT)}</li>" for either in route)
    return f'<ol class="route"><li>client</li><li>tunnelctl</li>{proxies}<li>target</li></ol>'


def _certificate(certificate: CertificateFacts) -> str:
    until = f"Valid until {day(certificate.ends)}"
    if certificate.days < 0:
        return f"<p><em>Expired on {day(certificate.ends)}</em></p>"
    left = f"{counted(certificate.days, 'day')} left"
    return f"<p>{until}, {f'<em>{left}</em>' if certificate.days <= WARNING_DAYS else left}</p>"


def _notes(notes: Sequence[Note], now: float, none: str) -> str:
    if not notes:
        return f'<p class="none">{none}</p>'
    return f'<ul class="notes">{"".join(f"<li>{moment(one.when, now)} {text(one.text, TEXT)}</li>" for one in notes[::-1])}</ul>'
