#!/usr/bin/env python3
"""Drives a results store with the clients that reporters use: `resultsdb_api` and `resultsdb_conventions`, as they come
from PyPI. Ends with 0 where each call did what it does with ResultsDB.

    results.py URL TOKEN          URL ends in /api/v2.0/ (the clients strip the slash)
"""
import sys
import uuid

from resultsdb_api import ResultsDBapi, ResultsDBapiException, ResultsDBAuth
from resultsdb_conventions.fedora import FedoraBodhiResult
from resultsdb_conventions.fedoracoreos import FedoraCoreOSImageResult
from resultsdb_conventions.prodmd import ProductmdImageResult


def same(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def refused(call, status, part):
    try:
        call()
    except ResultsDBapiException as error:
        assert error.response.status_code == status, error
        assert part in error.message, error.message
    else:
        raise AssertionError(f"{part} was taken")


def ids(listing):
    return [row["id"] for row in listing["data"]]


def api(client):
    """Each method of resultsdb_api."""
    group = client.create_group(str(uuid.uuid4()), ref_url="https://ci/1", description="a group, with a comma")
    same(client.get_group(group["uuid"]), group)
    same(group["results_count"], 0)
    group = client.update_group(group["uuid"], description="another")
    same((group["description"], group["ref_url"]), ("another", "https://ci/1"))
    same(client.update_group(group["uuid"]), group)
    same(client.get_groups(description="another")["data"], [group])
    same(client.get_groups(description_like="anoth*", limit=1)["data"], [group])
    same(client.get_groups(uuid=[group["uuid"], "none"])["data"], [group])

    testcase = client.create_testcase("scratch.a/b c", ref_url="https://t/1")
    same(client.get_testcase("scratch.a/b c"), testcase)
    same(client.update_testcase("scratch.a/b c", url="https://t/2")["ref_url"], "https://t/2")
    same(client.update_testcase("scratch.a/b c")["ref_url"], "https://t/2")
    same([t["name"] for t in client.get_testcases(name_like="scratch.*")["data"]], ["scratch.a/b c"])
    same(client.get_testcases(name="none")["data"], [])

    first = client.create_result(
        "PASSED", {"name": "scratch.a/b c", "ref_url": "https://t/3"}, groups=[group["uuid"]], note="n",
        ref_url="https://r/1", item="x-1-1", type="koji_build", arch=["x86_64", "noarch"], number=5)
    same(first["data"], {"item": ["x-1-1"], "type": ["koji_build"], "arch": ["x86_64", "noarch"], "number": ["5"]})
    same((first["groups"], first["testcase"]["ref_url"], first["note"]), ([group["uuid"]], "https://t/3", "n"))
    second = client.create_result("FAILED", "scratch.plain", item="x-1-1", type="koji_build")
    same(client.get_result(first["id"]), first)
    same(client.get_group(group["uuid"])["results_count"], 1)

    both = [second["id"], first["id"]]
    same(ids(client.get_results(item="x-1-1", type=["koji_build", "bodhi_update"])), both)
    same(ids(client.get_results(item_like="x-1*", arch="noarch")), [first["id"]])
    same(ids(client.get_results(outcome=["FAILED", "INFO"])), [second["id"]])
    same(ids(client.get_results(groups=group["uuid"])), [first["id"]])
    same(ids(client.get_results(testcases=["scratch.plain"], testcases_like="scratch.a*")), both)
    same(ids(client.get_results(since="2020-01-01", raw_params={"item:like": "x*"})), both)
    page = client.get_results(limit=1, page=1)
    same((ids(page), page["next"], page["prev"] is None), ([first["id"]], None, False))

    refused(lambda: client.get_result(2**31 - 1), 404, "Result not found")
    refused(lambda: client.get_group("none"), 404, "Group not found")
    refused(lambda: client.get_testcase("none"), 404, "Testcase not found")
    refused(lambda: client.create_result("GOOD", "scratch.plain"), 400, "must be one of")
    refused(lambda: client.create_result("PASSED", "scratch.plain", **{"a:b": "c"}), 400, "Colon not allowed")
    refused(lambda: client.create_result("PASSED", "closed.testcase"), 403, "not authorized")


def conventions(client):
    """What openQA's and CoreOS's reporters post."""
    update = FedoraBodhiResult(
        "FEDORA-2026-1", "PASSED", "scratch.update.base", ref_url="https://openqa/tests/1", source="openqa")
    made = update.report(client)
    same((made["data"]["item"], made["data"]["type"]), (["FEDORA-2026-1"], ["bodhi_update"]))
    same((made["data"]["meta.conventions"], made["data"]["source"]), (["result fedora.bodhi"], ["openqa"]))
    same(len(made["groups"]), 3)
    [group] = client.get_groups(description="bodhi.FEDORA-2026-1")["data"]
    same((group["ref_url"], uuid.UUID(group["uuid"]).version, group["results_count"]),
         ("https://bodhi.fedoraproject.org/updates/FEDORA-2026-1", 5, 1))
    again = FedoraBodhiResult("FEDORA-2026-1", "FAILED", "scratch.update.other", source="openqa").report(client)
    same(sorted(again["groups"]), sorted(made["groups"]))
    same(ids(client.get_results(groups=group["uuid"])), [again["id"], made["id"]])

    compose = {"header": {}, "payload": {
        "release": {"name": "Fedora", "short": "Fedora", "version": "Rawhide"},
        "compose": {"id": "Fedora-Rawhide-20261120.n.0", "date": "20261120", "type": "nightly", "respin": 0}}}
    image = {"path": "Server/x86_64/iso/Fedora-Server.iso", "subvariant": "Server", "type": "dvd", "format": "iso",
             "arch": "x86_64", "disc_number": 1}
    made = ProductmdImageResult(image, compose, "PASSED", "scratch.compose.install", source="openqa").report(client)
    same((made["data"]["productmd.compose.id"], made["data"]["item"]),
         (["Fedora-Rawhide-20261120.n.0"], ["Fedora-Server.iso"]))
    same(made["data"]["productmd.compose.respin"], ["0"])
    same(ids(client.get_results(**{"productmd.image.arch": "x86_64"})), [made["id"]])

    made = FedoraCoreOSImageResult(
        "metal", "fcos.iso", "iso", "x86_64", "41.20261120.20.0", "testing-devel", "PASSED", "scratch.coreos.iso",
        source="coreos").report(client)
    same((made["data"]["type"], made["data"]["fedoracoreos.image.platform"]), (["fcosbuild"], ["metal"]))


def main(url, token):
    client = ResultsDBapi(url, max_retries=1, request_auth=ResultsDBAuth.basic_auth("anyone", token))
    api(client)
    conventions(client)
    stranger = ResultsDBapi(url, auth_token="in the body is none", max_retries=1)
    same(stranger.get_result(1)["id"], 1)
    try:
        stranger.create_result("PASSED", "scratch.plain")
    except ResultsDBapiException as error:
        same(error.response.status_code, 401)
    else:
        raise AssertionError("a post without a token was taken")


if __name__ == "__main__":
    main(*sys.argv[1:])
