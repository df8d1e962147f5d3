//! Section 5 of the contract: filters over data.

use serde_json::json;

use crate::server::Server;

crate::on_both_engines!(values_and_keys, patterns_over_data, one_row_however_it_matches, common_and_narrow_terms_agree);

async fn values_and_keys(server: Server) {
    let a = server.add_data("t", json!({"item": "w-1", "type": "koji_build", "arch": ["x86_64", "noarch"]})).await;
    let b = server.add_data("t", json!({"item": "w-2", "type": "koji_build", "arch": "x86_64"})).await;
    let c = server.add_data("u", json!({"item": "w-2", "type": "bodhi_update", "Odd Key.x-y": "a,b"})).await;
    let d = server.add_data("u", json!({"item": "", "type": " koji_build"})).await;
    for (query, want) in [
        ("item=w-2", vec![c, b]),
        ("item=w-2&type=koji_build", vec![b]),
        ("item=w-1,w-2", vec![c, b, a]),
        ("item=w-1&item=w-2", vec![c, b, a]),
        ("item=W-2", vec![]),
        ("item=w-1,%20w-2", vec![a]),
        ("item:foo=w-1", vec![a]),
        ("item=", vec![d]),
        ("type=%20koji_build", vec![d]),
        ("arch=noarch&arch=none", vec![a]),
        ("Odd%20Key.x-y=a", vec![]),
        ("Odd+Key.x-y:like=a%2Cb", vec![]),
        ("Odd+Key.x-y:like=a_b", vec![c]),
        ("item=w-2&testcases=t", vec![b]),
        ("item=w-1,w-2&testcases=u&outcome=PASSED", vec![c]),
        ("item=w-2&outcome=FAILED", vec![]),
        ("item=w-2&since=2000", vec![c, b]),
        ("item=w-2&since=2000,2001", vec![]),
        ("nokey=x", vec![]),
    ] {
        assert_eq!(server.ids(&format!("/results?{query}")).await, want, "{query}");
    }
}

async fn patterns_over_data(server: Server) {
    let a = server.add_data("t", json!({"item": "pkg-1.0-1", "arch": ["x86_64", "noarch"]})).await;
    let b = server.add_data("t", json!({"item": "PKG-1.0-1", "arch": "x86_64"})).await;
    let c = server.add_data("t", json!({"item": "100%_\\é[x]", "arch": "s390x"})).await;
    for (query, want) in [
        ("item:like=pkg*", vec![a]),
        ("item:like=*1.0*", vec![b, a]),
        ("item:like=pkg-1.0-1", vec![a]),
        ("item:like=pkg", vec![]),
        ("item:like=pk%25,PK%25", vec![b, a]),
        ("item:like=___-1.0-_", vec![b, a]),
        ("item:like=100%5C%25*", vec![c]),
        ("item:like=*%5C%5C*", vec![c]),
        ("item:like=*_[x]", vec![c]),
        ("item:like=*%5C", vec![]),
        ("item:like=", vec![]),
        ("item:like=*&arch=noarch", vec![a]),
        ("item:like=*&arch:like=*64,s39*", vec![c, b, a]),
        ("item:like=pkg*&item=pkg-1.0-1", vec![a]),
        ("item:like=pkg*&item=PKG-1.0-1", vec![]),
    ] {
        assert_eq!(server.ids(&format!("/results?{query}")).await, want, "{query}");
    }
}

async fn one_row_however_it_matches(server: Server) {
    let a = server.add_data("t", json!({"arch": ["x", "y", "z", "x"]})).await;
    assert_eq!(server.ids("/results?arch=x,y,z").await, [a]);
    assert_eq!(server.ids("/results?arch:like=*").await, [a]);
    assert_eq!(server.ids("/results/latest?arch=x,y").await, [a]);
    assert_eq!(server.ids("/results/latest?arch=x,y&_distinct_on=arch").await, [a]);
}

/// So many values that a pattern over them is asked of the results themselves.
async fn common_and_narrow_terms_agree(server: Server) {
    let results: Vec<_> = (0..300)
        .map(|i| json!({"outcome": "PASSED", "testcase": format!("t{}", i % 3), "data": {"item": format!("many-{i}"), "type": "k"}}))
        .collect();
    assert_eq!(server.post("/batch", json!({"results": results})).await.status, 200);
    let all = server.ids("/results?limit=1000").await;
    assert_eq!(server.ids("/results?item:like=many*&limit=1000").await, all);
    assert_eq!(server.ids("/results?item:like=many*&type=k&limit=1000").await, all);
    assert_eq!(server.ids("/results?item:like=many*&item=many-7").await.len(), 1);
    assert_eq!(server.ids("/results?item:like=m*,*7*&testcases=t1&limit=1000").await.len(), 100);
    assert_eq!(server.ids("/results/latest?item:like=many*").await.len(), 3);
    assert_eq!(server.ids("/results/latest?item:like=many-2?&type=k").await, [] as [i64; 0]);
    assert_eq!(server.ids("/results?item:like=none*&type=k").await, [] as [i64; 0]);
}
