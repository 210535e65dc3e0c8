"""The third programme: migrations that go well, are refused, go back; a backup, a loss, a restore.

The app `shop` keeps its customers' orders in a PostgreSQL. Half of all requests place one.
"""

from sandbox.demo.data_play import back_up, destroy_and_restore, drill, maintenance, release
from sandbox.demo.script import Act, Programme
from sandbox.demo_app.images import demo_migrations
from sandbox.village import Options

_V1 = ("001_orders",)
_V2 = (*_V1, "002_currency")
_NEEDS = "customer,cents,currency"

DATA = Programme(
    name="data",
    report="demo-data-report.json",
    rate=60.0,
    orders=True,
    options=Options(
        database=True,
        slots=("blue", "green"),
        changes={
            "strategy": {
                "steps": [{"weight": 50, "min_observation": "3s", "max_observation": "40s"}],
                "bake": "3s",
            },
            "database": {"on_rollback": "down"},
            "analysis": {
                "limits": {"latency_ms_max": 1000},  # two cores also run a database here
                "judge": {"acceptance": {"error_absolute": 0.05, "latency_ratio": 4}},
            },
        },
    ),
    acts=(
        Act(
            title="v2 brings a column: backed up, dry-run, applied; both builds live on it",
            short="v2 expands",
            version="v2",
            behaviour={"migrations": demo_migrations(*_V2), "needs": _NEEDS},
            expect_state="succeeded",
            expect_serving="v2",
            perform=release(
                adds=("column public.orders.currency ",), restore_point=True, shared=True
            ),
        ),
        Act(
            title="v3 renames a column that v2 reads: refused before anything runs",
            short="v3 breaks v2",
            version="v3",
            behaviour={
                "migrations": demo_migrations(*_V2, "003_amount"),
                "needs": "customer,amount,currency",
            },
            expect_state="rejected",
            expect_serving="v2",
            expect_why="003_amount",
            must_stay_unseen=True,
            perform=release(),
        ),
        Act(
            title="v4 migrates, then fails half of its requests: its down script runs",
            short="v4 goes back down",
            version="v4",
            behaviour={
                "migrations": demo_migrations(*_V2, "004_channel"),
                "needs": f"{_NEEDS},channel",
                "error_rate": 0.5,
            },
            expect_state="rolled_back",
            expect_serving="v2",
            expect_why="taken back from the database: 004_channel",
            may_fail_for_users=True,
            perform=release(restore_point=True),
        ),
        Act(
            title="v5's second statement contradicts the data: its dry run says so",
            short="v5 fails dry",
            version="v5",
            behaviour={"migrations": demo_migrations(*_V2, "005_first_orders"), "needs": _NEEDS},
            expect_state="rejected",
            expect_serving="v2",
            expect_why="005_first_orders",
            must_stay_unseen=True,
            perform=release(),
        ),
        Act(
            title="v6 fails half way, where no dry run looks: the half is taken back",
            short="v6 fails half way",
            version="v6",
            behaviour={
                "migrations": demo_migrations(*_V2, "006_rebate", "007_share"),
                "needs": _NEEDS,
            },
            expect_state="rolled_back",
            expect_serving="v2",
            expect_why="division by zero",
            must_stay_unseen=True,
            perform=release(restore_point=True),
        ),
        Act(
            title="a person orders a backup by HTTP",
            short="backup",
            version="v2",
            expect_state="succeeded",
            expect_serving="v2",
            perform=maintenance(back_up),
        ),
        Act(
            title="somebody drops the database; a person restores the backup by HTTP",
            short="loss and restore",
            version="v2",
            expect_state="succeeded",
            expect_serving="v2",
            dependency_may_fail=True,
            perform=maintenance(destroy_and_restore),
        ),
        Act(
            title="a drill by HTTP: does the newest backup restore, and how soon?",
            short="drill",
            version="v2",
            expect_state="succeeded",
            expect_serving="v2",
            perform=maintenance(drill),
        ),
    ),
)
