"""The table of open tunnels, with the filter form and the links to further pages."""

from __future__ import annotations

from tunnelctl.control.page.markup import counted, plain, text
from tunnelctl.control.page.table import Column, table
from tunnelctl.control.page.view import MAX_FILTER, ROWS, Rows, View, select
from tunnelctl.control.snapshot import TunnelFacts, Tunnels
from tunnelctl.control.units import NONE, rate, size, span

OPEN = "tunnel"  # the phase of a tunnel that is established


def _target(tunnel: TunnelFacts) -> str:
    """Shows the address that was dialled as well, where it says more than the target does."""
    if not tunnel.address or tunnel.address == tunnel.target:
        return text(tunnel.target)
    return f"{text(tunnel.target)} <small>{text(tunnel.address)}</small>"


def _rate(count: float | None) -> str:
    return rate(count) if count else f"<small>{rate(count)}</small>"


_COLUMNS = (
    Column("Target", _target, "target"),
    Column("User", lambda one: text(one.user, 24), "user"),
    Column("Client", lambda one: text(one.client), "client"),
    Column("Phase", lambda one: OPEN if one.phase == OPEN else f"<b>{text(one.phase)}</b>", "phase"),
    Column("Age", lambda one: span(one.seconds), "seconds"),
    Column("Idle", lambda one: NONE if one.idle is None else span(one.idle), "idle"),
    Column("Sent", lambda one: size(one.sent), "sent"),
    Column("Sent/s", lambda one: _rate(one.sent_rate), "sent_rate"),
    Column("Received", lambda one: size(one.received), "received"),
    Column("Received/s", lambda one: _rate(one.received_rate), "received_rate"),
)


def section(tunnels: Tunnels, view: View) -> str:
    """Returns the table of one page of them. Only these are rendered: there may be thousands."""
    rows = select(tunnels.tunnels, view)
    shown = table("tunnels", _COLUMNS, rows.tunnels, view) if rows.tunnels else f'<p class="none">{_none(tunnels, view)}</p>'
    count = _count(rows, len(tunnels.tunnels), view)
    return (
        f'<section id="tunnels" aria-labelledby="tunnels-title">\n<div class="bar"><h2 id="tunnels-title">Open tunnels</h2>'
        f'<p class="count">{count}</p>\n{_form(view)}</div>\n{shown}\n{_pages(rows, view)}</section>\n'
    )


def _none(tunnels: Tunnels, view: View) -> str:
    return "No tunnel matches the filter." if view.filter and tunnels.tunnels else "No tunnel is open."


def _count(rows: Rows, total: int, view: View) -> str:
    """Returns how many are shown of how many: `200 of 5,000`."""
    if len(rows.tunnels) == total:
        return f"{total:,}"
    if len(rows.tunnels) == rows.matching:
        return f"{rows.matching:,} of {total:,}"
    place = f"{rows.first + 1:,} to {rows.first + len(rows.tunnels):,}"
    return f"{len(rows.tunnels):,} of {counted(rows.matching, 'match', 'matches') if view.filter else f'{total:,}'} ({place})"


def _form(view: View) -> str:
    kept = "".join(f'<input type="hidden" name="{name}" value="{getattr(view, name)}">' for name in ("sort", "order"))
    clear = f'<a href="{plain(view.link(filter=""))}#tunnels">Clear</a>' if view.filter else ""
    return (
        f'<form role="search" action="#tunnels"><label for="filter">Filter</label>{kept}'
        f'<input id="filter" name="filter" type="search" value="{plain(view.filter)}" maxlength="{MAX_FILTER}" '
        f'placeholder="user, client or target" autocomplete="off" spellcheck="false"><button>Apply</button>{clear}</form>'
    )


def _pages(rows: Rows, view: View) -> str:
    links = []
    if rows.first:
        links.append(f'<a rel="prev" href="{plain(view.link(page=rows.page - 1))}#tunnels">Previous {ROWS}</a>')
    if not rows.is_last:
        following = min(ROWS, rows.matching - rows.first - len(rows.tunnels))
        links.append(f'<a rel="next" href="{plain(view.link(page=rows.page + 1))}#tunnels">Next {following}</a>')
    return f'<nav aria-label="Pages of tunnels">{" ".join(links)}</nav>' if links else ""
