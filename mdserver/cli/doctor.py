"""`mdserver doctor`: looks everything over, says what is wrong and what to do about it."""

from __future__ import annotations

import click

from mdserver.chores import doctor
from mdserver.chores.doctor import CheckAsk, Finding
from mdserver.chores.jobs import Nothing

from .common import Settings, counted, refuse, show, table
from .common import command as new_command

MARKS = {"ok": "ok", "warning": "could be better", "failed": "WRONG", "skipped": "-"}


@new_command("doctor", example="mdserver doctor --run contents --run search")
@click.option("--list", "listing", is_flag=True, help="List the checks without doing them.")
@click.option("--run", "names", metavar="NAME", multiple=True, help="Do this check; may be given several times.")
@click.option("--fix", is_flag=True, help="Mend what can be mended without losing anything.")
def command(settings: Settings, listing: bool, names: tuple[str, ...], fix: bool) -> None:
    """Look everything over, and say what is wrong and what to do about it.

    Configuration, database, documents against their logs, search index, files, disk, clock, jobs, mail, and the server
    as the world sees it through the proxy. Checks change nothing unless --fix is given. The status is 1 when something
    is wrong.
    """
    with settings.reaching(there=True) as run:
        known = run(doctor.doctor_list, Nothing()).items
        if listing:
            show(settings, known, *table(("NAME", "WHAT"), [(one.name, one.what) for one in known]))
            return
        found: list[Finding] = []
        for name in names or [one.name for one in known]:
            one = run(doctor.doctor_check, CheckAsk(name=name, fix=fix))
            found.append(one)
            if not settings.as_json:
                click.echo(f"{name:<14} {MARKS[one.state]:<16} {one.detail}")
                for line in one.told:
                    click.echo(f"{'':<14} - {line}")
                for line in one.fixed:
                    click.echo(f"{'':<14} + {line}")
    if settings.as_json:
        show(settings, found)
    wrong = [one.name for one in found if one.state == "failed"]
    if wrong:
        refuse(f"{counted(len(wrong), 'check')} found something wrong: {', '.join(wrong)}.")
