"""What can be configured: one Struct a section, one annotated field a key, with its sentence and default. Floor 0."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from .config_values import (
    BASE_PATH,
    DAY,
    DSN,
    FOLDER,
    GIB,
    HOUR,
    KEEP,
    KIB,
    MAILBOX,
    MIB,
    MINUTE,
    NETWORKS,
    ORIGINS,
    RATE,
    SCHEDULE,
    TOKEN,
    URL,
    Address,
    Keep,
    Network,
    Rate,
    Schedule,
    Secret,
    duration,
    duration_or_off,
    integer,
    size,
)

# The sections. A field's annotation holds its sentence and, where the type alone does not tell, how it is read.
# Docstrings and sentences are those of config.example.toml; a test keeps the two alike.


class Server(Struct, frozen=True, kw_only=True):
    """Where the server keeps its data and how people reach it."""

    data: Annotated[Path, "Directory of database, blobs and keys; under systemd its StateDirectory."] = Path("data")
    listen: Annotated[Address, "Address and port to listen on; port 0 takes any free one."] = Address("127.0.0.1", 8000)
    public_url: Annotated[str, "Address that people use, with base_path; empty: made from listen.", URL] = ""
    base_path: Annotated[str, "Path under which everything stands; a proxy must pass it on unchanged.", BASE_PATH] = ""
    trusted_proxies: Annotated[
        tuple[Network, ...], "Addresses and networks of proxies whose forwarding headers are believed.", NETWORKS
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...], "Origins of apps that may call the API with a token, as the apps send them.", ORIGINS
    ] = ("tauri://localhost", "http://tauri.localhost", "https://tauri.localhost")
    shutdown_seconds: Annotated[int, "Seconds that open requests and sockets get to finish.", integer(1, 3600)] = 15
    event_loop: Annotated[
        Literal["auto", "uvloop", "asyncio"], "Event loop; auto takes uvloop where it is installed."
    ] = "auto"

    def url(self, port: int | None = None) -> str:
        """The address people use, with base_path. `port` is the one that was bound, for when listen says 0."""
        if self.public_url:
            return self.public_url
        host = "localhost" if self.listen.host in ("0.0.0.0", "::") else self.listen.host  # noqa: S104 (compared)
        return f"http://{Address(host, port or self.listen.port)}{self.base_path}"


class Database(Struct, frozen=True, kw_only=True):
    """SQLite in the data directory, or PostgreSQL."""

    url: Annotated[Secret, "A postgresql:// URL, or empty for SQLite; url_file names a file that holds it.", DSN] = (
        Secret()
    )
    readers: Annotated[int, "Threads that read from SQLite beside its one writer.", integer(1, 64)] = 2
    connections: Annotated[int, "Most connections to PostgreSQL.", integer(1, 1000)] = 8


class Log(Struct, frozen=True, kw_only=True):
    """What is written to standard error; never content and never secrets."""

    level: Annotated[Literal["debug", "info", "warning", "error"], "The least that is worth a line."] = "info"
    format: Annotated[Literal["auto", "human", "json"], "How a line looks; auto is human on a terminal, else json."] = (
        "auto"
    )
    requests: Annotated[
        Literal["all", "errors", "none"], "Which requests get a line; errors are answers from 500 on."
    ] = "all"


class Limits(Struct, frozen=True, kw_only=True):
    """How large and how slow things may be; what goes beyond is refused with a clear problem."""

    json_body: Annotated[int, "Largest JSON body.", size(KIB, GIB)] = 1 * MIB
    document: Annotated[int, "Largest text of one document.", size(KIB, GIB)] = 20 * MIB
    header: Annotated[int, "Largest request line, and largest header field.", size(KIB, MIB)] = 8 * KIB
    import_entries: Annotated[int, "Most entries in an archive that is imported.", integer(1, 10_000_000)] = 10_000
    import_bytes: Annotated[int, "Largest sum of an archive's unpacked entries.", size(KIB, 1024 * GIB)] = 1 * GIB
    import_ratio: Annotated[int, "How many times its size an archive may unpack to.", integer(1, 10_000)] = 100
    keep_alive: Annotated[int, "How long a silent connection is kept open.", duration(1, HOUR)] = 75
    body_seconds: Annotated[int, "Seconds in which a request's body must have arrived.", integer(1, 3600)] = 60
    frame: Annotated[
        int, "Largest message of live editing, but for a document that is brought along.", size(KIB, GIB)
    ] = 1 * MIB
    frames_second: Annotated[
        int, "Messages of live editing that a socket may go on sending.", integer(1, 1_000_000)
    ] = 60
    frames_burst: Annotated[int, "How many more it may send at once.", integer(1, 1_000_000)] = 200
    user_sockets: Annotated[int, "Sockets of live editing that one user may have open.", integer(1, 100_000)] = 20
    socket_documents: Annotated[int, "Documents that one of them may have open.", integer(1, 100_000)] = 100


class Rates(Struct, frozen=True, kw_only=True):
    """How often one user, or one address before signing in, may do things; "off" is no limit."""

    enabled: Annotated[bool, "Whether rates are limited at all."] = True
    sign_in_account: Annotated[Rate | None, "Sign-ins evaluated for one account.", RATE] = Rate(10, 15 * MINUTE)
    sign_in_address: Annotated[Rate | None, "Sign-ins evaluated from one address.", RATE] = Rate(50, 15 * MINUTE)
    account_mail: Annotated[Rate | None, "Sign-ups, password resets and invitations.", RATE] = Rate(5, HOUR)
    writes: Annotated[Rate | None, "Requests that change something.", RATE] = Rate(120, MINUTE)
    reads: Annotated[Rate | None, "Requests that only read.", RATE] = Rate(600, MINUTE)
    search: Annotated[Rate | None, "Searches.", RATE] = Rate(60, MINUTE)
    sockets: Annotated[Rate | None, "Sockets of live editing that are opened.", RATE] = Rate(30, MINUTE)


class Accounts(Struct, frozen=True, kw_only=True):
    """Who may have an account, and how long what proves it is good for."""

    signup: Annotated[Literal["open", "invite", "closed"], "Who may sign up: anybody, the invited, or nobody."] = (
        "invite"
    )
    password_hashing: Annotated[
        Literal["standard", "small"], "Memory for one argon2id hash: standard takes 64 MiB, small 46 MiB."
    ] = "standard"  # noqa: S105 (a name, not a password)
    access_token: Annotated[int, "Life of an access token.", duration(MINUTE, DAY)] = 10 * MINUTE
    refresh_idle: Annotated[int, "How long an app stays signed in without being used.", duration(HOUR, 3650 * DAY)] = (
        30 * DAY
    )
    refresh_absolute: Annotated[int, "How long an app stays signed in at most.", duration(HOUR, 3650 * DAY)] = 180 * DAY
    web_session_idle: Annotated[
        int, "How long a browser stays signed in without being used.", duration(HOUR, 3650 * DAY)
    ] = 14 * DAY
    reset_code: Annotated[int, "How long a password reset link works.", duration(MINUTE, 7 * DAY)] = 30 * MINUTE
    invitation: Annotated[int, "How long an invitation stands.", duration(HOUR, 365 * DAY)] = 7 * DAY
    recent_sign_in: Annotated[
        int, "How old a sign-in may be when somebody changes what protects the account.", duration(MINUTE, DAY)
    ] = 10 * MINUTE


class Retention(Struct, frozen=True, kw_only=True):
    """How long things are kept that nobody deletes; "off" keeps them for ever."""

    trash: Annotated[
        int | None,
        "How long what is in the trash can be restored.",
        duration_or_off(HOUR, 3650 * DAY),
    ] = 30 * DAY
    versions: Annotated[
        int | None, "How long every version of a document is kept.", duration_or_off(HOUR, 3650 * DAY)
    ] = 30 * DAY
    versions_hourly: Annotated[
        int,
        "Up to which age the last of each hour is kept; from then on, of each day.",
        duration(HOUR, 3650 * DAY),
    ] = 90 * DAY
    versions_daily: Annotated[
        int | None,
        "Up to which age the last of each day is kept. Named versions and the newest stay for ever.",
        duration_or_off(HOUR, 36500 * DAY),
    ] = None
    audit: Annotated[int | None, "How long the audit log is kept.", duration_or_off(DAY, 36500 * DAY)] = 365 * DAY


class Jobs(Struct, frozen=True, kw_only=True):
    """Work that the server does beside its requests; “mdserver job list” shows it."""

    enabled: Annotated[bool, "Whether this server does it; “mdserver job run” works all the same."] = True


class Mail(Struct, frozen=True, kw_only=True):
    """The SMTP server for invitations and password resets; without one the server sends no mail."""

    host: Annotated[str, "Name or address of the SMTP server; empty: no mail is sent."] = ""
    port: Annotated[int, "Port of the SMTP server: usually 587 with starttls, 465 with tls.", integer(1, 65535)] = 587
    security: Annotated[Literal["starttls", "tls", "none"], "How the connection is encrypted."] = "starttls"
    username: Annotated[str, "User name, when the SMTP server asks for one."] = ""
    password: Annotated[Secret, "Password of that user; password_file names a file that holds it."] = Secret()
    sender: Annotated[str, 'Who mails come from, such as "mdserver <notes@example.org>".', MAILBOX] = ""
    timeout: Annotated[int, "How long the SMTP server may take to answer.", duration(1, 10 * MINUTE)] = 10


class Backup(Struct, frozen=True, kw_only=True):
    """Backups that the server makes by itself, as “mdserver backup” does."""

    directory: Annotated[
        str, "Where they go, a directory for this server alone; empty: backups in the data directory.", FOLDER
    ] = ""
    schedule: Annotated[
        Schedule | None, 'When: "off", "daily 03:30" by the server\'s clock, or how often, such as "6 h".', SCHEDULE
    ] = None
    keep: Annotated[Keep, "How many: the newest so many, or the newest of so many days, weeks and months.", KEEP] = (
        Keep(daily=7, weekly=4, monthly=12)
    )


class Metrics(Struct, frozen=True, kw_only=True):
    """Figures for Prometheus at /metrics."""

    token: Annotated[
        Secret, "Who may read them; empty: programs on this machine, not through a proxy. Or token_file.", TOKEN
    ] = Secret()


class Config(Struct, frozen=True, kw_only=True):
    server: Server = Server()
    database: Database = Database()
    log: Log = Log()
    limits: Limits = Limits()
    rates: Rates = Rates()
    accounts: Accounts = Accounts()
    mail: Mail = Mail()
    backup: Backup = Backup()
    retention: Retention = Retention()
    jobs: Jobs = Jobs()
    metrics: Metrics = Metrics()
