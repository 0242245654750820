from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from paris_p2p.cli import app
from paris_p2p.config import SETTINGS, PeerConfig, flag_of, load
from paris_p2p.errors import UsageProblem
from paris_p2p.home import Home
from paris_p2p.records.address import EXAMPLE

OTHER = EXAMPLE.replace("203.0.113.7", "203.0.113.8")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def write(home: Home, toml: str) -> None:
    home.config_file.write_text(toml)


def test_without_any_source_the_defaults_hold(home: Home) -> None:
    assert load(home, {}, {}) == PeerConfig()


def test_every_field_can_come_from_every_place(home: Home) -> None:
    expected = PeerConfig(
        bootstrap=(EXAMPLE, OTHER),
        listen="::1",
        port=31337,
        announce=("/dns4/seed.example.org/tcp/31337",),
        run=("ab" * 32, "cd" * 32),
        api_port=8080,
        store_quota=20_000_000_000,
        replicas=5,
        seed_only=True,
        train=False,
        relay=(OTHER,),
        serve_relay=False,
        upnp=True,
        duty_cycle=50,
    )
    variables = {
        "PARIS_BOOTSTRAP": f"{EXAMPLE}, {OTHER}",
        "PARIS_LISTEN": "::1",
        "PARIS_PORT": "31337",
        "PARIS_ANNOUNCE": "/dns4/seed.example.org/tcp/31337",
        "PARIS_RUN": f"{'ab' * 32},{'cd' * 32}",
        "PARIS_API_PORT": "8080",
        "PARIS_STORE_QUOTA": "20 GB",
        "PARIS_REPLICAS": "5",
        "PARIS_SEED_ONLY": "true",
        "PARIS_TRAIN": "false",
        "PARIS_RELAY": OTHER,
        "PARIS_SERVE_RELAY": "false",
        "PARIS_UPNP": "true",
        "PARIS_DUTY_CYCLE": "50",
    }
    flags = {name: getattr(expected, name) for name in PeerConfig.__dataclass_fields__}
    assert load(home, {}, variables) == expected
    assert load(home, flags, {}) == expected
    write(
        home,
        f"""
        bootstrap = ["{EXAMPLE}", "{OTHER}"]
        listen = "::1"
        port = 31337
        announce = ["/dns4/seed.example.org/tcp/31337"]
        run = ["{"ab" * 32}", "{"cd" * 32}"]
        api_port = 8080
        store_quota = 20000000000
        replicas = 5
        seed_only = true
        train = false
        relay = ["{OTHER}"]
        serve_relay = false
        upnp = true
        duty_cycle = "50%"
        """,
    )
    assert load(home, {}, {}) == expected


def test_a_single_run_may_stand_for_itself_as_in_version_0_1_0(home: Home) -> None:
    write(home, f'run = "{"ab" * 32}"')
    assert load(home, {}, {}).run == ("ab" * 32,)
    write(home, 'run = ""')
    assert load(home, {}, {}).run == ()


def test_every_setting_is_a_flag_that_is_explained_and_none_stands_unless_given() -> None:
    command = typer.main.get_command(app).commands["start"]  # type: ignore[attr-defined]
    options = {option.name: option for option in command.params}
    assert options.keys() >= SETTINGS.keys() == PeerConfig.__dataclass_fields__.keys()
    for key, setting in SETTINGS.items():
        assert options[key].opts[0] == flag_of(key)
        assert options[key].help.startswith(setting.help)
        assert options[key].default is None


def test_what_flags_stand_for_reaches_the_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = []

    async def live(home: Home, config: PeerConfig, *rest: object) -> None:
        chosen.append(config)

    monkeypatch.setattr(sys.modules["paris_p2p.cli.start"], "_live", live)
    words = ["--home", str(tmp_path), "-b", EXAMPLE, "--bootstrap", OTHER, "--port", "31337"]
    words += ["--no-serve-relay", "--upload-limit", "2 MB/s", "--replicas", "5"]
    done = CliRunner().invoke(app, ["start", *words])
    assert done.exception is None, done.output
    expected = PeerConfig(
        bootstrap=(EXAMPLE, OTHER),
        port=31337,
        serve_relay=False,
        upload_limit=2_000_000,
        replicas=5,
    )
    assert chosen == [expected]


def test_training_unattended_is_chosen_in_any_place(home: Home) -> None:
    assert load(home, {"train": True}, {}).train
    assert load(home, {}, {"PARIS_TRAIN": "true"}).train
    write(home, "train = true")
    assert load(home, {}, {}).train
    assert not load(home, {"train": False}, {}).train


@pytest.mark.parametrize("path", ["~/swarm.key", "swarm.key", "/etc/paris/swarm.key"])
def test_the_swarm_key_is_a_path_wherever_it_is_given(home: Home, path: str) -> None:
    whole = str(Path(path).expanduser().absolute())
    write(home, f'swarm_key_file = "{path}"')
    from_file = load(home, {}, {})
    assert from_file == load(home, {}, {"PARIS_SWARM_KEY_FILE": path})
    assert from_file.swarm_key_file == load(home, {"swarm_key_file": path}, {}).swarm_key_file
    assert from_file.swarm_key_file == whole


def test_a_file_may_begin_with_a_byte_order_mark(home: Home) -> None:
    home.config_file.write_bytes("\ufeffport = 7\n".encode())
    assert load(home, {}, {}).port == 7


def test_a_storage_volunteer_does_not_train(home: Home) -> None:
    with pytest.raises(UsageProblem, match="seed_only and train exclude each other"):
        load(home, {"seed_only": True, "train": True}, {})


def test_flags_beat_variables_beat_the_file(home: Home) -> None:
    write(home, "port = 1\napi_port = 1\nlisten = '127.0.0.1'")
    variables = {"PARIS_PORT": "2", "PARIS_API_PORT": "2"}
    config = load(home, {"port": 3}, variables)
    assert (config.port, config.api_port, config.listen) == (3, 2, "127.0.0.1")


def test_a_flag_not_given_changes_nothing(home: Home) -> None:
    write(home, f"port = 1\nbootstrap = ['{EXAMPLE}']")
    config = load(home, {"port": None, "bootstrap": [], "announce": ()}, {})
    assert (config.port, config.bootstrap) == (1, (EXAMPLE,))


def test_the_variable_of_the_home_is_not_a_setting(home: Home) -> None:
    assert load(home, {}, {"PARIS_HOME": "/somewhere", "PATH": "/bin"}) == PeerConfig()


BAD_FILES = {
    "prot = 1": "prot: there is no such setting. Known are: bootstrap, run, listen",
    "[peer]\nport = 1": "peer: there is no such setting",
    "port = '31337'": "port: '31337' is not a port. A port is a number from 0 to 65535",
    "port = 65536": "port: 65536 is not a port",
    "port = true": "port: True is not a port",
    "listen = 'localhost'": "listen: 'localhost' is not an IP address",
    "run = 'emoji-64'": "run: 'emoji-64' is not a run's id. It has 64 hex digits",
    "run = 7": "run: must be a list of ids of runs",
    f"bootstrap = '{EXAMPLE}'": "bootstrap: must be a list of addresses",
    "bootstrap = [1]": "bootstrap: must be a list of addresses",
    "bootstrap = ['1.2.3.4:5']": f"does not begin with a slash. One looks like this: {EXAMPLE}",
    f"announce = ['{EXAMPLE}']": "announce: '/ip4",
    "store_quota = '20 GW'": "store_quota: '20 GW' is not a size. Write bytes, or a number with",
    "store_quota = -1": "store_quota: -1 is not a size",
    "store_quota = true": "store_quota: True is not a size",
    "replicas = 0": "replicas: 0 is not a number of replicas. It is a number from 1 to 64",
    "duty_cycle = 9": "duty_cycle: 9 is not a duty cycle. It is a number from 10 to 100",
    "duty_cycle = '120%'": "duty_cycle: '120%' is not a duty cycle",
    "duty_cycle = 'half'": "duty_cycle: 'half' is not a duty cycle",
    "seed_only = 1": "seed_only: 1 is not a switch. Write true or false",
    'swarm_key_file = "a\\u0000b"': "is not the path of a file",
    "swarm_key_file = '~nosuchuser/swarm.key'": "no home directory for ~nosuchuser/swarm.key",
    "train = 'yes'": "train: 'yes' is not a switch",
    "port = ": "is not valid TOML",
    "\xff": "is not valid TOML",
}


@pytest.mark.parametrize(("toml", "line"), BAD_FILES.items())
def test_a_bad_file_is_explained_in_one_line(home: Home, toml: str, line: str) -> None:
    home.config_file.write_bytes(toml.encode("latin-1"))
    with pytest.raises(UsageProblem) as refusal:
        load(home, {}, {})
    assert line in str(refusal.value)
    assert str(home.config_file) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_named(home: Home) -> None:
    home.config_file.mkdir()
    with pytest.raises(UsageProblem, match="cannot read"):
        load(home, {}, {})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234", 1234),
        ("1 kB", 1000),
        ("1KiB", 1024),
        ("20 GB", 20 * 10**9),
        ("1.5 TiB", 3 << 39),
        ("50G", 50 * 10**9),
        ("512 B", 512),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(home: Home, text: str, size: int) -> None:
    assert load(home, {}, {"PARIS_STORE_QUOTA": text}).store_quota == size
    assert load(home, {"store_quota": text}, {}).store_quota == size


@pytest.mark.parametrize("text", ["", "GB", "1e9", "٣ GB", "99999999 TB", "1 GB and more", "-1"])
def test_what_is_no_size_is_refused(home: Home, text: str) -> None:
    with pytest.raises(UsageProblem, match="is not a size"):
        load(home, {"store_quota": text}, {})


@pytest.mark.parametrize(
    ("name", "text"), [("PARIS_PORT", "-1"), ("PARIS_PORT", ""), ("PARIS_BOOTSTRAP", "nonsense")]
)
def test_a_bad_variable_is_named(home: Home, name: str, text: str) -> None:
    with pytest.raises(UsageProblem, match=f"^{name}: "):
        load(home, {}, {name: text})


@pytest.mark.parametrize(
    ("key", "value", "flag"),
    [("api_port", 70000, "--api-port"), ("bootstrap", ("x",), "--bootstrap")],
)
def test_a_bad_flag_is_named(home: Home, key: str, value: object, flag: str) -> None:
    with pytest.raises(UsageProblem, match=f"^{flag}: "):
        load(home, {key: value}, {})


@pytest.mark.parametrize(
    ("text", "rate"), [("2 MB/s", 2_000_000), ("100 KiB/s", 102_400), ("1 MB", 1_000_000), (0, 0)]
)
def test_limits_are_read_with_their_units(home: Home, text: object, rate: int) -> None:
    assert load(home, {"upload_limit": text}, {}).upload_limit == rate


@pytest.mark.parametrize("text", ["fast", "2 MB/h", "1 kB/s", -1, 1000])
def test_a_limit_that_makes_no_sense_is_refused(home: Home, text: object) -> None:
    with pytest.raises(UsageProblem, match="download-limit"):
        load(home, {"download_limit": text}, {})
