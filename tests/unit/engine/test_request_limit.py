"""How many requests a service gets, on simulated lines; compared with the best constant number."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from kaiwo.engine.request_limit import Change, RequestLimit
from tests.support.simulated_line import MIB, RANGE, Client, Line, Simulation

GIB = 1 << 30
SMALL = 10_000
SEEDS = (1, 2, 3)
ENDLESS = 1 << 50

seeds = pytest.mark.parametrize("seed", SEEDS)


def policy(seed: int) -> RequestLimit:
    return RequestLimit(jitter=random.Random(seed))


def run(
    sizes: list[int], seed: int = 1, constant: int | None = None, until_s: float = 600, **of: object
) -> Client:
    """One client alone on a line; ``of`` are attributes of the line and of the client."""
    simulation = Simulation()
    client_names = {"piece", "turn_s", "says_first_bytes", "is_busy", "machines"} & of.keys()
    its = {name: of.pop(name) for name in client_names}
    line = Line(simulation, seed, **of)  # type: ignore[arg-type]
    client = Client(line, sizes, constant or policy(seed), **its)  # type: ignore[arg-type]
    simulation.run(until_s, lambda: client.is_over)
    return client


def took_s(client: Client) -> float:
    assert client.ended_s is not None, "not all arrived"
    return client.ended_s


def reached_s(client: Client, limit: int) -> float:
    """When the limit was that high."""
    return next((when_s for when_s, each in client.changes if each.after >= limit), math.inf)


# --- the line itself


def test_the_line_gives_each_connection_its_rate_after_the_latency() -> None:
    # 128 ranges, 16 for each request: each is asked for, waits, and comes.
    alone_s = 16 * (0.03 + RANGE / 25e6)
    assert took_s(run([GIB], constant=8)) == pytest.approx(alone_s, abs=0.06)


def test_the_line_gives_all_together_no_more_than_its_capacity() -> None:
    client = run([80_000_000], constant=64, capacity=8e6)
    assert took_s(client) == pytest.approx(10, rel=0.02)


def test_the_line_gives_what_some_leave_to_the_others() -> None:
    simulation = Simulation()
    line = Line(simulation, 1, capacity=10e6, connection_rate=4e6, latency_s=0)
    few = Client(line, [ENDLESS], 1)
    many = Client(line, [ENDLESS], 3)
    simulation.run(20)
    assert few.bytes / 20 == pytest.approx(2.5e6, rel=0.05)
    line.connection_rate = 1e6
    few_before, many_before = few.bytes, many.bytes
    simulation.run(60)
    assert (few.bytes - few_before) / 40 == pytest.approx(1e6, rel=0.2)
    assert (many.bytes - many_before) / 40 == pytest.approx(3e6, rel=0.2)


# --- connections that are slow, on a line with room


@seeds
@pytest.mark.parametrize(("turn_s", "within_s"), [(0.01, 0.55), (0.05, 0.6), (0.1, 0.7)])
def test_a_large_object_gets_all_requests_within_moments(
    seed: int, turn_s: float, within_s: float
) -> None:
    client = run([GIB], seed, turn_s=turn_s)
    assert reached_s(client, 64) <= within_s
    assert [each.after for _, each in client.changes] == [16, 32, 64]
    # 0.73 s with 64 from the start; 5.8 s with 8.
    assert took_s(client) <= 1.4


@seeds
def test_each_of_several_machines_gets_them_where_there_is_room(seed: int) -> None:
    client = run([3 * GIB], seed, machines=3)
    assert [each.after for _, each in client.changes] == [16, 32, 64]


@seeds
def test_machines_that_share_a_full_line_try_no_more(seed: int) -> None:
    simulation = Simulation()
    line = Line(simulation, seed)
    client = Client(line, [ENDLESS], policy(seed), machines=3, is_busy=lambda: simulation.now_s < 3)
    simulation.run(2)
    # Others come, who leave a sixth of what each request has had.
    line.capacity = 24 * 25e6 / 6
    simulation.run(10)
    assert client.changes == []


@seeds
def test_faster_connections_get_them_too(seed: int) -> None:
    assert took_s(run([GIB], seed, connection_rate=60e6)) <= 0.9


@seeds
def test_first_bytes_may_be_known_only_at_the_end_of_a_request(seed: int) -> None:
    assert took_s(run([GIB], seed, says_first_bytes=False)) <= 1.5


@seeds
def test_joined_ranges_are_judged_too(seed: int) -> None:
    client = run([GIB], seed, piece=RANGE)
    assert reached_s(client, 64) <= 2.5
    assert took_s(client) <= took_s(run([GIB], constant=8)) / 2


@seeds
@pytest.mark.parametrize("warm_up_s", [0.1, 0.25])
def test_connections_that_start_slowly_are_no_failure(seed: int, warm_up_s: float) -> None:
    client = run([2 * GIB], seed, warm_up_s=warm_up_s)
    assert [each.after for _, each in client.changes] == [16, 32, 64]
    assert took_s(client) <= 2 * took_s(run([2 * GIB], constant=64, warm_up_s=warm_up_s))


@seeds
@pytest.mark.parametrize(("latency_s", "most"), [(0.03, 1.35), (0.1, 1.5)])
def test_small_objects_get_all_requests_within_a_few_round_trips(
    seed: int, latency_s: float, most: float
) -> None:
    client = run([SMALL] * 2000, seed, latency_s=latency_s)
    assert reached_s(client, 64) <= 15 * latency_s + 0.1
    assert took_s(client) <= most * took_s(run([SMALL] * 2000, constant=64, latency_s=latency_s))


@seeds
def test_a_very_slow_connection_takes_longer_to_judge(seed: int) -> None:
    sizes = [30_000_000] * 4
    client = run(sizes, seed, connection_rate=128e3, piece=32 << 10)
    # 15 ranges of 8 MiB: nothing is left for more than 16 requests.
    assert 0.5 <= reached_s(client, 16) <= 2
    ideal_s = took_s(run(sizes, constant=64, connection_rate=128e3))
    assert took_s(client) <= 1.05 * ideal_s


@seeds
@pytest.mark.parametrize(
    "sizes",
    [
        [GIB // 4] + [SMALL] * 3000,
        [SMALL] * 1500 + [GIB // 2],
        [MIB] * 1000,
        [SMALL, 200_000, MIB, 3 * MIB] * 300,
    ],
    ids=["large, small", "small, large", "medium", "mixed"],
)
def test_objects_of_other_sizes_are_no_failure_of_growth(seed: int, sizes: list[int]) -> None:
    client = run(sizes, seed)
    assert client.allowed == 64
    assert len(client.changes) == 3
    assert took_s(client) <= 1.6 * took_s(run(sizes, constant=64))


@seeds
@pytest.mark.parametrize("sway", [0, 0.3])
@pytest.mark.parametrize("size", [GIB, 4 * GIB])
def test_noise_does_not_hold_growth_back(seed: int, sway: float, size: int) -> None:
    client = run([size], seed, noise=0.3, sway=sway)
    assert reached_s(client, 64) <= 0.8
    assert client.allowed == 64
    assert (
        took_s(client) <= 1.2 * took_s(run([size], seed, constant=64, noise=0.3, sway=sway)) + 0.6
    )


@seeds
def test_noise_does_not_make_it_collapse_later(seed: int) -> None:
    client = run([ENDLESS], seed, until_s=60, noise=0.3, sway=0.3, connection_rate=1e6)
    late = [each for when_s, each in client.changes if when_s > 5]
    assert client.allowed == 64
    assert len(late) <= 2


# --- lines without room


@seeds
@pytest.mark.parametrize(("noise", "most_changes"), [(0, 18), (0.3, 24)])
def test_a_full_line_keeps_its_few_requests(seed: int, noise: float, most_changes: int) -> None:
    client = run(
        [ENDLESS], seed, until_s=300, capacity=8e6, piece=128 << 10, noise=noise, sway=noise / 2
    )
    limits = [each.after for _, each in client.changes]
    assert client.allowed <= 24
    assert max(limits) <= 32
    # Each attempt is later than the one before.
    assert len(limits) <= most_changes
    assert sum(when_s > 200 for when_s, _ in client.changes) <= most_changes / 3
    assert client.bytes >= 0.97 * 300 * 8e6 * (1 - noise / 4)


@seeds
def test_a_line_that_needs_16_requests_gets_about_16(seed: int) -> None:
    def on_it(constant: int | None = None) -> Client:
        sizes = [400_000_000]
        return run(sizes, seed, constant, capacity=8e6, connection_rate=5e5, piece=128 << 10)

    client = on_it()
    assert 16 <= client.allowed <= 32
    assert took_s(client) <= 1.05 * took_s(on_it(16))


@seeds
def test_a_service_that_works_on_ten_requests_at_once_gets_few_more(seed: int) -> None:
    client = run([SMALL] * 7000, seed, queue=10)
    assert client.allowed <= 27
    assert took_s(client) <= 1.2 * took_s(run([SMALL] * 7000, constant=64, queue=10))


@seeds
def test_a_line_that_becomes_free_is_used(seed: int) -> None:
    simulation = Simulation()
    line = Line(simulation, seed, capacity=8e6, connection_rate=1e6)
    client = Client(line, [ENDLESS], policy(seed), piece=128 << 10)
    simulation.at(30, lambda: line.widen(math.inf))
    simulation.run(30)
    assert client.allowed <= 16
    simulation.run(90)
    assert client.allowed == 64


@seeds
def test_a_line_that_becomes_full_gets_fewer(seed: int) -> None:
    simulation = Simulation()
    line = Line(simulation, seed, connection_rate=1e6)
    client = Client(line, [ENDLESS], policy(seed), piece=128 << 10)
    simulation.at(30, lambda: line.widen(8e6))
    simulation.run(30)
    assert client.allowed == 64
    simulation.run(200)
    assert client.allowed <= 24


# --- this machine


@seeds
def test_a_fast_line_gets_no_more_than_the_processor_can_take(seed: int) -> None:
    # Loopback: what is taken does not depend on the number of requests.
    client = run(
        [20 * GIB], seed, connection_rate=1e9, capacity=1.2e9, latency_s=0.0005, turn_s=0.02
    )
    assert client.allowed <= 24
    assert len(client.changes) <= 8


@seeds
def test_a_busy_process_asks_for_no_more(seed: int) -> None:
    client = run([GIB], seed, is_busy=lambda: True)
    assert client.changes == []


@seeds
@pytest.mark.parametrize(
    ("size", "latency_s", "allowed"), [(SMALL, 0.0005, 3), (SMALL, 0.03, 8), (MIB, 0.0005, 8)]
)
def test_tiny_objects_get_fewer_where_the_processor_is_used_up_and_fewer_do_the_same(
    seed: int, size: int, latency_s: float, allowed: int
) -> None:
    simulation = Simulation()
    line = Line(simulation, seed, connection_rate=1e9, capacity=8e6, latency_s=latency_s)
    limit = RequestLimit(jitter=random.Random(seed), least=3)
    client = Client(line, [size] * 20_000, limit, is_busy=lambda: True, turn_s=0.001)
    simulation.run(6, lambda: client.is_over)
    assert client.allowed == allowed


# --- rivals


@seeds
@pytest.mark.parametrize(("spread_s", "noise"), [(0.2, 0), (10, 0), (10, 0.3)])
def test_eight_rivals_on_one_line_all_get_something(
    seed: int, spread_s: float, noise: float
) -> None:
    simulation = Simulation()
    line = Line(simulation, seed, capacity=40e6, noise=noise)
    chance = random.Random(seed)
    rivals = [
        Client(
            line,
            [ENDLESS],
            policy(seed * 100 + number),
            piece=256 << 10,
            starts_s=chance.uniform(0, spread_s),
        )
        for number in range(8)
    ]
    simulation.run(15)
    before = [each.bytes for each in rivals]
    simulation.run(30)
    got = [each.bytes - earlier for each, earlier in zip(rivals, before, strict=True)]
    fair = sum(got) / len(got)
    assert min(got) >= fair / 4
    assert max(got) <= 3 * fair
    # Eight that only looked at themselves would have 512.
    assert sum(each.allowed for each in rivals) <= 280
    assert sum(got) >= 0.97 * 15 * 40e6


def test_a_fleet_does_not_grow_in_step() -> None:
    simulation = Simulation()
    line = Line(simulation, 1, noise=0.1)
    fleet = [Client(line, [ENDLESS], policy(seed), turn_s=0.01) for seed in range(8)]
    simulation.run(1)
    for limit in (32, 64):
        assert len({reached_s(each, limit) for each in fleet}) >= 3


# --- refusals


@seeds
@pytest.mark.parametrize("connections", [1, 2, 3, 10, 20, 50])
def test_a_service_that_allows_a_few_connections_gets_about_these(
    seed: int, connections: int
) -> None:
    def at_it(constant: int | None = None) -> Client:
        sizes = [60_000_000 * connections]
        of = {"connections": connections, "piece": 256 << 10}
        return run(sizes, seed, constant, connection_rate=2e6, **of)

    client = at_it()
    assert connections - 1 <= client.allowed <= connections + max(connections // 8, 1)
    assert took_s(client) <= 1.15 * took_s(at_it(connections))
    # Some in the first moments, then one now and then.
    assert client.refusals <= 20 + connections


@seeds
@pytest.mark.parametrize("connections", [1, 2, 10, 20])
def test_so_with_small_objects(seed: int, connections: int) -> None:
    sizes = [SMALL] * 500 * connections
    client = run(sizes, seed, connections=connections)
    assert took_s(client) <= 1.1 * took_s(run(sizes, constant=connections, connections=connections))
    assert client.refusals <= 20 + connections


@seeds
@pytest.mark.parametrize("rate", [50, 200, 1000])
def test_a_limited_rate_of_requests_is_kept(seed: int, rate: int) -> None:
    count = 20 * rate
    client = run([SMALL] * count, seed, request_rate=rate)
    assert took_s(client) <= 1.6 * count / rate
    assert client.refusals <= 0.05 * count


@seeds
def test_a_service_that_was_busy_for_moments_gets_all_again(seed: int) -> None:
    simulation = Simulation()
    line = Line(simulation, seed)
    client = Client(line, [ENDLESS], policy(seed))
    simulation.run(2)
    assert client.allowed == 64
    line.is_down = True
    simulation.run(4)
    assert client.allowed <= 8
    line.is_down = False
    simulation.run(40)
    assert client.allowed == 64


def test_refusals_of_one_burst_count_once() -> None:
    limit = policy(1)
    limit.step(0.0, 8)
    changes = [limit.refused(0.03 + number / 1000) for number in range(6)]
    assert [each for each in changes if each] == [Change(8, 4, "8 requests at once were refused")]


def test_refusals_leave_one_request() -> None:
    limit = policy(1)
    for second in range(10):
        limit.refused(second)
    assert limit.limit == 1
    assert limit.refused(11.0) is None


# --- what it says, and when it says nothing


def test_figures_are_unknown_before_any_request() -> None:
    limit = policy(1)
    limit.note(0.1, bytes=MIB)
    assert (limit.connection_rate, limit.first_byte_s) == (None, None)


def test_figures_are_the_medians_of_the_latest_requests() -> None:
    limit = policy(1)
    for rate, wait_s in ((1e6, 0.03), (5e6, 0.5), (2e6, 0.04)):
        limit.note(0.2, first_byte_s=wait_s)
        limit.note(0.3, bytes=MIB, requests=1, connection_rate=rate)
    assert (limit.connection_rate, limit.first_byte_s) == (2e6, 0.04)


def drive(limit: RequestLimit, in_flight: int, since_s: float, until_s: float) -> None:
    """Requests of 30 ms and 20 ms for the body, all at once every 50 ms."""
    for tick in range(round(since_s * 20), round(until_s * 20)):
        now_s = tick / 20
        for _ in range(in_flight):
            limit.note(now_s, bytes=MIB, requests=1, first_byte_s=0.03, connection_rate=MIB / 0.02)
        limit.step(now_s, in_flight)


def test_a_limit_that_is_not_used_stays() -> None:
    limit = policy(1)
    drive(limit, 5, 0, 10)
    assert limit.limit == 8


def test_growth_that_is_not_used_is_no_failure() -> None:
    limit = policy(1)
    drive(limit, 8, 0, 0.3)
    assert limit.limit == 16
    drive(limit, 8, 0.3, 20)
    assert limit.limit == 16
    drive(limit, 16, 20, 20.5)
    assert limit.limit == 32


@pytest.mark.parametrize("most", [1, 3, 8, 12, 20])
def test_no_more_than_the_most_are_allowed(most: int) -> None:
    simulation = Simulation()
    limit = RequestLimit(most, jitter=random.Random(1))
    client = Client(Line(simulation, 1), [ENDLESS], limit)
    simulation.run(3)
    assert client.allowed == most
    assert client.in_flight == most


def test_a_change_says_why() -> None:
    client = run([300_000_000], capacity=8e6, piece=128 << 10)
    (_, more), (_, back) = itertools.islice(client.changes, 2)
    assert more == Change(8, 16, "each request does its work")
    assert (back.before, back.after) == (16, 8)
    assert back.why == "16 requests did 1.0 x the work"
