"""Accounts, workspaces, tokens, init, check-config, migrate and openapi: what they do, say and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdserver import clock
from mdserver.app import ROUTES
from mdserver.store.sqlite import connect

from .homes import PASSWORD, Home


def test_user_create(either: Home) -> None:
    said = either.ok("user", "create", "Ada@example.org", "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert said.startswith("The administrator Ada@example.org was made")
    assert "reset" not in said
    assert "“ada@EXAMPLE.org”" not in either.fails("user", "create", "ada@EXAMPLE.org")
    assert either.fails("user", "create", "ada@EXAMPLE.org") == "Another account has this e-mail address."
    assert either.fails("user", "create", "nobody") == "This is not an e-mail address."
    weak = either.fails("user", "create", "bob@example.org", "--password-stdin", stdin="12345678")
    assert weak == "This is one of the passwords that are tried first: choose another."
    assert either.fails("user", "create", "bob@example.org", "--password-stdin", stdin="", status=2) == (
        "There is no password on standard input."
    )

    made = either.json("user", "create", "bob@example.org", "--name", "Bob")
    assert made["user"]["display_name"] == "Bob"
    assert "/reset#code=mds_ot_" in made["reset_link"]
    shown = either.json("user", "show", "BOB@example.org")
    assert [one["name"] for one in shown["workspaces"]] == ["Bob's notes"]
    assert either.json("user", "show", made["user"]["id"]) == shown

    lines = either.ok("user", "list").splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["Ada@example.org", "Ada", "admin"],
        ["bob@example.org", "Bob", "active"],
    ]


def test_user_changes(either: Home) -> None:
    either.user("ada@example.org", "--admin")
    either.user("bob@example.org")
    either.ok("user", "disable", "bob@example.org")
    assert "disabled" in either.ok("user", "list")
    either.ok("user", "enable", "bob@example.org")
    assert either.json("user", "promote", "bob@example.org")["is_admin"]
    assert not either.json("user", "demote", "ada@example.org")["is_admin"]
    for verb in (["demote"], ["disable"], ["delete", "--yes"]):
        assert either.fails("user", *verb, "bob@example.org") == (
            "This is the last active administrator: make somebody else one first."
        )
    link = either.json("user", "reset-link", "ada@example.org")
    assert link["seconds"] == 1800
    assert "#code=" in link["url"]
    said = either.ok("user", "set-password", "ada@example.org", "--password-stdin", stdin="another harbour")
    assert said == "ada@example.org has the new password; its sessions have ended.\n"
    assert "at least 8" in either.fails("user", "set-password", "ada@example.org", "--password-stdin", stdin="short")
    assert either.fails("user", "set-password", "ada@example.org", status=2) == (
        "There is no terminal to ask for the password: say --password-stdin."
    )


def test_destroying_asks_first(either: Home) -> None:
    either.user("ada@example.org", "--admin")
    either.user("bob@example.org")
    either.workspace("Shared", owner="bob@example.org")
    for arguments in (["user", "delete", "bob@example.org"], ["workspace", "delete", "Shared"]):
        assert either.fails(*arguments, status=2).endswith("There is no terminal to ask: say --yes if you mean it.")
    assert len(either.json("workspace", "list")) == 3
    assert either.ok("workspace", "delete", "Shared", "--yes") == "The workspace “Shared” was deleted.\n"
    assert either.ok("user", "delete", "bob@example.org", "--yes") == "bob@example.org was deleted.\n"
    assert either.fails("user", "show", "bob@example.org") == (
        "There is no account with the e-mail address 'bob@example.org'."
    )
    assert [one["name"] for one in either.json("workspace", "list")] == ["ada's notes"]


def test_workspaces(either: Home) -> None:
    either.user("ada@example.org")
    either.user("bob@example.org")
    made = either.workspace("Reading Group")
    assert either.fails("workspace", "create", "X", "--owner", "eve@example.org").startswith("There is no account")
    said = either.ok("workspace", "add-member", "reading group", "bob@example.org", "--role", "editor")
    assert said == "bob@example.org was added to “Reading Group”: editor.\n"
    said = either.ok("workspace", "add-member", made, "bob@example.org", "--role", "admin")
    assert said == "bob@example.org has another role in “Reading Group”: admin.\n"
    shown = either.json("workspace", "show", "Reading Group")
    assert {one["email"]: one["role"] for one in shown["members"]} == {
        "ada@example.org": "owner",
        "bob@example.org": "admin",
    }
    assert shown["workspace"]["member_count"] == 2
    last = "This is the last owner: make somebody else an owner first."
    assert either.fails("workspace", "add-member", made, "ada@example.org", "--role", "viewer") == last
    assert either.fails("workspace", "remove-member", made, "ada@example.org") == last
    assert "owner alone" not in either.ok("workspace", "show", made)
    either.ok("workspace", "remove-member", made, "bob@example.org")
    assert either.fails("workspace", "remove-member", made, "bob@example.org") == (
        "This person is not a member of the workspace."
    )
    assert either.fails("user", "delete", "nobody@example.org", "--yes").startswith("There is no account")


def test_a_workspace_by_its_name(home: Home) -> None:
    home.user("ada@example.org")
    first, second = home.workspace("Plans"), home.workspace("Plans")
    assert home.fails("workspace", "show", "Plans") == (
        f"2 workspaces are called 'Plans': name one by its id ({first}, {second})."
    )
    assert home.json("workspace", "show", second)["workspace"]["id"] == second
    third = home.workspace("plans")
    assert home.json("workspace", "show", "plans")["workspace"]["id"] == third  # exactly so written, there is one
    assert home.fails("workspace", "show", "Nothing") == (
        "There is no workspace 'Nothing': “mdserver workspace list” shows them."
    )


def test_tokens(either: Home) -> None:
    either.user("ada@example.org")
    either.user("bob@example.org")
    bobs = either.workspace("Bob's", owner="bob@example.org")
    create = ("token", "create", "ada@example.org", "--name", "backup", "--scope", "read")
    made = either.json(*create, "--scope", "write", "--expires", "90d")
    assert made["token"].startswith("mds_pat_")
    assert made["scopes"] == ["read", "write"]
    life = clock.parse(made["expires_at"]) - clock.parse(made["created_at"])
    assert abs(life - 90 * clock.DAY) < clock.MINUTE
    assert either.fails(*create, "--workspace", bobs) == "There is no such workspace, or you cannot see it."
    listed = either.ok("token", "list", "ada@example.org")
    assert made["token"] not in listed
    assert made["token"][-4:] in listed
    either.ok("token", "revoke", made["id"])
    assert either.json("token", "list", "ada@example.org") == []
    assert either.fails("token", "revoke", made["id"]) == f"There is no token with the id '{made['id']}'."


@pytest.mark.parametrize("life", ["soon", "-1d", "10", "4000d", "5y", ""])
def test_a_life_that_no_token_has(home: Home, life: str) -> None:
    result = home.run("token", "create", "ada@example.org", "--name", "n", "--scope", "read", "--expires", life)
    assert result.exit_code == 2
    assert "Invalid value for '--expires': must be a duration from 1 min" in result.stderr


def test_init(either: Home) -> None:
    said = either.ok("init")
    assert said == f"{either.data} is ready. Start the server with: mdserver serve --data {either.data}\n"
    assert either.data.stat().st_mode & 0o777 == 0o700
    assert either.ok("init") == said
    made = either.json("init", "--email", "ada@example.org", "--password-stdin", stdin=PASSWORD)
    assert made["user"]["is_admin"]
    assert made["reset_link"] is None
    assert either.fails("init", "--email", "bob@example.org") == (
        "There are accounts already: make further ones with “mdserver user create”."
    )


def test_check_config(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[server]\nlisten = '127.0.0.1:9000'\n")
    assert home.ok("check-config", "--config", str(file)) == (
        f"The configuration is right: data in {home.data}, SQLite, http://127.0.0.1:9000/\n"
    )
    home.environment["MDSERVER_CONFIG"] = str(file)
    assert home.json("check-config") == {"mistakes": []}
    file.write_text("[server]\nlisten = 9000\ncolour = 'red'\n")
    result = home.run("check-config")
    assert result.exit_code == 1
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [f"{file}:2", f"{file}:3"]
    result = home.run("check-config", "--json")
    assert result.exit_code == 1
    assert [one["key"] for one in json.loads(result.stdout)["mistakes"]] == ["server.listen", "server.colour"]


def test_credentials_that_cannot_be_used(home: Home, tmp_path: Path) -> None:
    """The server does not start with them, and says what check-config says."""
    credential = tmp_path / "mdserver.metrics.token"
    home.environment["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    for content in ("", "two\nlines"):
        credential.write_text(content)
        wrong = f"{credential}: metrics.token: the file with the secret must hold it as one line of UTF-8\n"
        checked, served = home.program("check-config"), home.program("serve", "--listen", "127.0.0.1:0")
        assert (checked.returncode, checked.stdout, checked.stderr) == (1, "", wrong)
        assert (served.returncode, served.stdout) == (1, "")
        assert served.stderr == f"Error: the configuration has 1 mistake:\n{wrong}"
    credential.rename(tmp_path / "mdserver.metrics.tokens")
    assert "names no key; did you mean mdserver.metrics.token?" in home.fails("serve", "--listen", "127.0.0.1:0")
    assert not home.data.exists()


def test_options_stand_before_and_after_the_command(home: Home, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    home.ok("--data", str(before), "init")
    home.ok("init", "--data", str(after))
    assert before.is_dir()
    assert after.is_dir()
    assert not home.data.exists()
    home.ok("--data", str(before), "user", "create", "a@example.org", "--data", str(after))
    assert home.json("--data", str(before), "user", "list") == []
    assert len(json.loads(home.ok("--data", str(after), "--json", "user", "list"))) == 1


def test_migrate(either: Home) -> None:
    rehearsed = either.json("migrate", "--dry-run")
    assert rehearsed["dry_run"]
    assert rehearsed["applied"][0] == "0001_foundation"
    assert not (either.data / "mdserver.sqlite3").exists()
    done = either.json("migrate")
    assert done == {"applied": rehearsed["applied"], "copy": None, "dry_run": False}
    assert either.ok("migrate", "--dry-run") == "The database is up to date.\n"
    assert either.ok("migrate") == "The database is up to date.\n"
    assert sorted(one.name for one in either.data.glob("rehearsal-*")) == []


def test_migrate_refuses_a_newer_database(home: Home) -> None:
    home.ok("init")
    connection = connect(home.data / "mdserver.sqlite3", read_only=False)
    connection.execute("INSERT INTO schema_migrations (number, name, applied_at) VALUES (9999, 'later', 0)")
    connection.close()
    for arguments in (["migrate"], ["migrate", "--dry-run"], ["user", "list"]):
        assert home.fails(*arguments).startswith("The database has schema 9999, this program knows up to ")


def test_openapi(home: Home, tmp_path: Path) -> None:
    document = json.loads(home.ok("openapi"))
    assert document["openapi"].startswith("3.1")
    assert len(document["paths"]) == len({route.path for resource in ROUTES for route in resource.all})
    home.ok("openapi", "--output", str(tmp_path / "openapi.json"))
    assert json.loads((tmp_path / "openapi.json").read_text()) == document
    assert not home.data.exists()
    assert "No such file or directory" in home.fails("openapi", "--output", str(tmp_path / "no" / "openapi.json"))
