"""`precompute` with a small SavedModel, in this process: what the lists hold, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
from tests.jobs.precomputing import command, read_lists, same, write_export

from tastemaker_jobs.cli import main
from tastemaker_jobs.errors import ContractError
from tastemaker_jobs.precompute.generations import newest_whole, read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def rows(event_rows):
    return event_rows


@pytest.fixture
def model(two_versions):
    return two_versions


@pytest.fixture(scope="session")
def ask(two_versions):
    """A user's list as version 1 gives it when it is asked for that user alone."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(two_versions / "1"))

    def answer(rows, user, k):
        mine = [row for row in rows if row[0] == user]
        items = [row[1] for row in sorted(mine, key=lambda row: row[3])]  # of one time in the order of the log
        found = loaded.signatures["recommend"](
            history=tf.constant([items[-50:]]), exclude=tf.constant([items]), k=tf.constant(k)
        )
        pairs = zip(found["item_id"].numpy()[0], found["score"].numpy()[0], strict=True)
        return [(item.decode(), float(score)) for item, score in pairs if item]

    return answer


def test_lists_are_what_the_model_answers_and_hold_nothing_consumed(tmp_path, model, rows, ask):
    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray", "--batch-size", "4")) == 0
    folder = newest_whole(tmp_path / "lists" / "home")
    lists, manifest = read_lists(folder), read_manifest(folder)
    assert set(lists) == {row[0] for row in rows}
    for user, found in lists.items():
        same(found, ask(rows, user, 5))
        assert not {item for item, _ in found} & {row[1] for row in rows if row[0] == user}
    assert (manifest.name, manifest.generation, manifest.key, len(manifest.shards)) == ("home", 1, 1, 8)
    assert (manifest.model_name, manifest.model_version, manifest.max_list_length) == ("autoencoder", 1, 5)
    assert manifest.event_log_position == len(rows)
    assert sorted(path.name for path in folder.iterdir() if path.name[0] == ".") == []


def test_named_users_without_history_are_counted_and_views_do_not_keep_an_item_off(tmp_path, model, rows, capsys):
    seen = [(user, item, "VIEW", at) for user, item, _, at in rows]
    write_export(tmp_path / "export", seen)
    users = tmp_path / "users.txt"
    users.write_text("user-1\nno-such-user\n\nuser-2\nuser-1\nneither\n")
    assert main(command(tmp_path, model, "--no-ray", "--users", str(users), "--k", "30")) == 0
    folder = newest_whole(tmp_path / "lists" / "home")
    lists = read_lists(folder)
    assert set(lists) == {"user-1", "user-2"}
    assert len(lists["user-1"]) == 30
    assert read_manifest(folder).skipped == {"user_without_history": 2}
    said = capsys.readouterr()
    assert "left out: user_without_history 2" in said.err
    assert f"publish-lists --lists {tmp_path}/lists/home" in said.err
    assert said.out == f"{folder}\n"


def test_only_active_users_are_asked(tmp_path, model, rows):
    day = 86_400_000_000
    write_export(tmp_path / "export", [*rows, ("late", "film-1", "CONSUME", 400 * day)])
    assert main(command(tmp_path, model, "--no-ray", "--users", "active:30d")) == 0
    assert set(read_lists(newest_whole(tmp_path / "lists" / "home"))) == {"late"}


def test_items_that_left_the_catalogue_are_dropped_and_lists_stay_full(tmp_path, model, rows, ask):
    write_export(tmp_path / "export", rows)
    items = tmp_path / "items.csv"
    kept = [f"film-{number}" for number in range(0, 30, 4)]
    items.write_text("\n".join(["item_id", *kept]) + "\n")
    assert main(command(tmp_path, model, "--no-ray", "--k", "3", "--items", str(items))) == 0
    folder = newest_whole(tmp_path / "lists" / "home")
    for user, found in read_lists(folder).items():
        same(found, [pair for pair in ask(rows, user, 30) if pair[0] in kept][:3])
    assert read_manifest(folder).skipped["item_not_in_catalogue"] > 0


def test_users_who_consumed_everything_are_counted(tmp_path, model, rows):
    everything = [("glutton", f"film-{number}", "CONSUME", number) for number in range(30)]
    write_export(tmp_path / "export", [*everything, *rows])
    assert main(command(tmp_path, model, "--no-ray")) == 0
    folder = newest_whole(tmp_path / "lists" / "home")
    assert "glutton" not in read_lists(folder)
    assert read_manifest(folder).skipped == {"nothing_to_recommend": 1}


def test_similar_items_are_what_the_model_answers(tmp_path, model):
    import tensorflow as tf

    argv = ["precompute", "--kind", "similar", "--k", "4", "--no-ray", "--lists-dir", f"{tmp_path}/lists"]
    items = tmp_path / "items.csv"
    items.write_text("item_id\n" + "".join(f"film-{number}\n" for number in range(20)) + "new\n")
    assert main([*argv, "--model-dir", str(model / "1")]) == 0
    assert main([*argv, "--model-dir", str(model / "1"), "--items", str(items)]) == 0
    every, listed = (read_lists(tmp_path / "lists" / "similar" / str(number)) for number in (1, 2))
    similar = tf.saved_model.load(str(model / "1")).signatures["similar"]
    for item, found in every.items():
        answer = similar(item_id=tf.constant([item]), exclude=tf.constant([[""]]), k=tf.constant(4))
        assert [other.encode() for other, _ in found] == answer["item_id"].numpy()[0].tolist()
    assert len(every) == 30
    assert len(listed) == 20
    assert {other for found in listed.values() for other, _ in found} <= set(listed)
    manifest = read_manifest(tmp_path / "lists" / "similar" / "2")
    assert manifest.skipped["nothing_to_recommend"] == 1
    assert (manifest.key, manifest.event_log_position) == (2, 0)


def test_incremental_run_is_a_full_run_for_the_changed_and_leaves_the_others(tmp_path, model, rows, capsys):
    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray")) == 0
    before = read_lists(tmp_path / "lists" / "home" / "1")
    shutil.rmtree(tmp_path / "export")
    late = [(user, before[user][0][0], "CONSUME", at) for user, at in (("user-1", 1), ("user-2", 9**14))]
    placed = [*rows, *late, ("new", "film-5", "CONSUME", 5)]
    write_export(tmp_path / "export", placed, erased="user-9")
    assert main(command(tmp_path, model, "--no-ray", "--incremental")) == 0
    assert "3 computed" in capsys.readouterr().err
    assert main(command(tmp_path, model, "--no-ray")) == 0
    after, full = (read_lists(tmp_path / "lists" / "home" / str(number)) for number in (2, 3))
    changed = {"user-1", "user-2", "new"}
    assert set(after) == set(full) == (set(before) | {"new"}) - {"user-9"}
    for user, found in after.items():
        if user in changed:
            same(found, full[user])
            assert found != before.get(user)
        else:
            assert found == before[user]
    manifest = read_manifest(tmp_path / "lists" / "home" / "2")
    assert (manifest.parent_generation, manifest.event_log_position) == (1, len(placed))
    assert manifest.skipped == {"no_longer_asked": 1}

    assert main(command(tmp_path, model, "--no-ray", "--incremental", "--k", "6")) == 1
    assert "was computed with k 5, and now it is 6" in capsys.readouterr().err
    other = ["--model-dir", str(model / "2")]
    assert main(command(tmp_path, model, "--no-ray", "--incremental", *other)) == 1
    assert "was computed with model autoencoder version 1, and now it is autoencoder" in capsys.readouterr().err
    assert main(command(tmp_path, model, "--no-ray", "--incremental", "--surface", "cart")) == 1
    assert "cart has no whole generation to go on from. Run without --incremental" in capsys.readouterr().err


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_flip, "is not what its manifest says (its SHA-256 is another)"),
        (Path.unlink, "cannot be read: No such file or directory"),
    ],
)
def test_incremental_run_takes_nothing_over_from_a_damaged_shard(tmp_path, model, rows, capsys, damage, says):
    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray")) == 0
    shard = tmp_path / "lists" / "home" / "1" / "shard-00003.parquet"
    damage(shard)
    assert main(command(tmp_path, model, "--no-ray", "--incremental")) == 1
    assert f"{shard} {says}" in (said := capsys.readouterr().err)
    assert "run without --incremental" in said
    assert newest_whole(tmp_path / "lists" / "home").name == "1"
    assert main(command(tmp_path, model, "--no-ray")) == 0


def test_incremental_run_on_lists_of_another_contract_is_refused(tmp_path, model, rows, capsys):
    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray")) == 0
    path = tmp_path / "lists" / "home" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"contract_version": 2}))
    assert main(command(tmp_path, model, "--no-ray", "--incremental")) == 1
    said = capsys.readouterr().err
    assert f"{path} is of version 2 of the contract of lists, and this code knows 1. Run without --incremental." in said
    assert not (tmp_path / "lists" / "home" / "2").exists()


def test_incremental_run_drops_and_counts_items_that_left_the_catalogue(tmp_path, model, rows):
    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray")) == 0
    before = read_lists(tmp_path / "lists" / "home" / "1")
    gone = before["user-1"][0][0]
    items = tmp_path / "items.csv"
    items.write_text("item_id\n" + "".join(f"film-{number}\n" for number in range(30) if f"film-{number}" != gone))
    assert main(command(tmp_path, model, "--no-ray", "--incremental", "--items", str(items))) == 0
    folder = tmp_path / "lists" / "home" / "2"
    assert read_lists(folder) == {user: [pair for pair in found if pair[0] != gone] for user, found in before.items()}
    places = sum(gone == item for found in before.values() for item, _ in found)
    assert read_manifest(folder).skipped == {"item_not_in_catalogue": places}
    assert places > 0


def test_models_that_cannot_do_it_are_refused_by_name(tmp_path, model, rows, capsys):
    write_export(tmp_path / "export", rows)
    bad = tmp_path / "m" / "1"
    shutil.copytree(model / "1", bad)
    text = (bad / "manifest.json").read_text()

    def error(*more):
        assert main(command(tmp_path, model, "--no-ray", "--model-dir", str(bad), *more)) == 1
        return capsys.readouterr().err

    (bad / "manifest.json").write_text(text.replace('"similar"', '"dissimilar"'))
    argv = ["precompute", "--kind", "similar", "--no-ray", "--model-dir", str(bad), "--lists-dir", f"{tmp_path}/lists"]
    assert main(argv) == 1
    assert f"{bad} has no signature `similar`" in capsys.readouterr().err
    (bad / "manifest.json").write_text(text.replace('"contract_version": 1', '"contract_version": 2'))
    assert "keeps version 2 of the contract of signatures" in error()
    (bad / "manifest.json").write_text(text)
    (bad / "saved_model.pb").write_bytes(b"no model")
    assert f"{bad} is not a SavedModel that can be loaded" in error()
    assert "there is no such file" in error("--users", str(tmp_path / "nobody"))
    (tmp_path / "nobody").write_text("\n")
    assert "names no user" in error("--users", str(tmp_path / "nobody"))
    assert newest_whole(tmp_path / "lists" / "home") is None


@pytest.mark.parametrize(
    ("listed", "says"),
    [(None, "lists items that were excluded, for user user-"), (b"\xff", "lists items whose ids are not UTF-8")],
)
def test_a_model_that_lists_what_was_excluded_or_is_no_text_is_found_out(tmp_path, rows, model, listed, says):
    import tensorflow as tf

    from tastemaker_jobs.commands.precompute import model_of
    from tastemaker_jobs.precompute.event_files import export_files
    from tastemaker_jobs.precompute.request import Kind, Precompute
    from tastemaker_jobs.precompute.run import precompute
    from tastemaker_jobs.precompute.steps import InThisProcess

    write_export(tmp_path / "export", rows)
    module, ids = tf.Module(), tf.TensorSpec([None, None], tf.string)

    def recommend(history, exclude, k):
        del exclude, k
        last = history[:, -1:]
        item = last if listed is None else tf.fill(tf.shape(last), tf.constant(listed))
        return {"item_id": item, "score": tf.ones_like(last, tf.float32)}

    module.recommend = tf.function(recommend, [ids, ids, tf.TensorSpec(None, tf.int32)])
    bad = tmp_path / "bad" / "1"
    tf.saved_model.save(module, str(bad), signatures={"recommend": module.recommend})
    shutil.copy(model / "1" / "manifest.json", bad)
    request = Precompute(
        Kind.USERS,
        "home",
        tmp_path / "lists",
        1,
        events=export_files(tmp_path / "export"),
        model=model_of(bad, "recommend"),
    )
    with pytest.raises(ContractError, match=says):
        precompute(request, InThisProcess(), lambda _: None)


def test_how_far_it_is_can_be_scraped(tmp_path, model, rows, free_port, scraped_at):
    write_export(tmp_path / "export", rows)
    argv = command(tmp_path, model, "--no-ray", "--metrics-address", f"127.0.0.1:{free_port}")
    seen = scraped_at(f"http://127.0.0.1:{free_port}/metrics", "shard", argv)
    shard = {"command": "precompute", "part": "shard"}
    assert [scraped.value("tastemaker_jobs_parts_done", **shard) for scraped in seen] == list(range(9))
    assert {scraped.value("tastemaker_jobs_parts", **shard) for scraped in seen} == {8}
    users = len({row[0] for row in rows})
    assert seen[-1].samples("tastemaker_jobs_lists_total") == {("home", "computed"): users}
