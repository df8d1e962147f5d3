//! What is asked of the results store, and how fast the original answers that.

use super::made::Made;

/// One kind of request.
pub struct Asked {
    pub what: &'static str,
    pub clients: usize,
    /// One request below the API's root, drawn by chance: its path, and what is posted to it.
    pub path: fn(Made, u64) -> String,
    pub body: Option<fn(Made, u64) -> String>,
    /// What the original answers in a second, on PostgreSQL with 1,000,000 results.
    pub original: Option<f64>,
    /// What we want: so many a second, and the 99th percentile in milliseconds.
    pub wanted: Option<(f64, f64)>,
}

/// Every kind, those that write last. With one client the original's figures are times 8 by id and times 20 elsewhere.
pub fn all() -> Vec<Asked> {
    let mut all = vec![
        get("no database: an unknown address", None, |_, _| "/unknown".into()),
        get("the health check: one bare statement", None, |_, _| "/healthcheck".into()),
        Asked {
            wanted: Some((8.0 * 492.0, 5.0)),
            ..get("by id", Some(492.0), |made, n| format!("/results/{}", 1 + n % made.results))
        },
        get("item and type", Some(37.5), |made, n| format!("/results?item={}&type=koji_build", made.item(n))),
        get("latest of item and type", Some(21.3), |made, n| format!("/results/latest?{}", of_item(made, n))),
        get("the same, Greenwave's _distinct_on", Some(20.8), |made, n| {
            format!("/results/latest?_distinct_on=scenario,system_architecture,system_variant&{}", of_item(made, n))
        }),
        get("testcase and outcome", Some(47.5), |_, n| {
            format!("/results?testcases={}&outcome=FAILED&limit=20", Made::testcase(n))
        }),
        get("since, newest weeks", Some(48.3), |_, n| format!("/results?since={}", Made::weeks(n))),
        get("since, a day", Some(50.5), |_, n| format!("/results?since={}", Made::day(n))),
        get("testcases:like=dist.*", Some(51.0), |_, _| "/results?testcases:like=dist.*".into()),
        get("unfiltered", Some(52.2), |_, _| "/results".into()),
        get("arch and scenario", Some(34.2), |_, _| "/results?arch=x86_64&scenario=uefi".into()),
        get("deep page", Some(16.0), |made, n| {
            let first = made.results / 100;
            format!("/results?page={}", first + n % (3 * first).max(1))
        }),
        get("deep page of one testcase", None, |made, n| {
            let pages = made.results / 40 / 20;
            format!("/results?testcases={}&page={}", Made::testcase(n), pages / 4 + n % (pages / 2).max(1))
        }),
        Asked {
            wanted: Some((20.0 * 4.5, 20.0)),
            ..get("substring of the item", Some(4.5), |made, n| {
                let item = made.item(n);
                format!("/results?item:like=*{}*", &item[3..12])
            })
        },
        get("latest, unfiltered", Some(8.9), |_, _| "/results/latest".into()),
        get("groups", Some(130.0), |_, _| "/groups?limit=20".into()),
    ];
    let eight: Vec<Asked> = [("by id", 903.0), ("item and type", 72.6), ("latest of item and type", 36.0)]
        .into_iter()
        .filter_map(|(what, original)| {
            let one = all.iter().find(|asked| asked.what == what)?;
            Some(Asked { clients: 8, original: Some(original), wanted: None, ..*one })
        })
        .collect();
    all.extend(eight);
    for (clients, original, wanted) in [(1, 198.0, 2_000.0), (8, 348.0, 5_000.0)] {
        all.push(Asked {
            what: "POST of a result",
            clients,
            path: |_, _| "/results".into(),
            body: Some(Made::body),
            original: Some(original),
            wanted: Some((wanted, 5.0)),
        });
    }
    all
}

fn of_item(made: Made, n: u64) -> String {
    format!("item={}&type=koji_build", made.item(n))
}

fn get(what: &'static str, original: Option<f64>, path: fn(Made, u64) -> String) -> Asked {
    let wanted = original.map(|rate| (20.0 * rate, 5.0));
    Asked { what, clients: 1, path, body: None, original, wanted }
}
