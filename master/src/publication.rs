//! One result as the results store takes it: an element of `POST /api/v2.0/batch`, a result of ResultsDB's API with a key
//! of its own. Whatever a job wrote, it is one that the store takes.

use std::collections::BTreeMap;

use model::{Finding, JobId};
use rules::{Subject, Task};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::Settings;
use crate::store::Publication;

/// The namespace of publication keys (version 5 UUIDs).
const PUBLICATIONS: Uuid = uuid!("0d9d3f2e-5b0f-5c0a-9a3e-6c7f6f2b9e41");

/// What all results of a job have in common.
pub struct Publisher<'a> {
    subject: Subject<'a>,
    task: &'a str,
    testcase: String,
    page: String,
    /// What each says that says nothing itself.
    note: Option<&'a str>,
}

impl<'a> Publisher<'a> {
    /// `version` is the task as the job runs it, where that can be read.
    pub fn new(
        subject: Subject<'a>,
        task: &'a str,
        version: Option<&Task>,
        note: Option<&'a str>,
        settings: &Settings,
    ) -> Publisher<'a> {
        // It rendered when the job was admitted; should it not do so now, the task's name says as much.
        let testcase = version.and_then(|version| version.testcase(subject).ok()).filter(|name| !name.is_empty());
        let testcase = testcase.unwrap_or_else(|| task.to_owned());
        Publisher { subject, task, testcase, page: settings.job_page(subject.job), note }
    }

    /// Whether this says something under the task's own name and of the job's own item, for which a gate waits.
    pub fn is_own(&self, finding: &Finding) -> bool {
        let own = |said: &Option<String>, ours: &str| said.as_deref().is_none_or(|said| said == ours);
        (own(&finding.testcase, &self.testcase) || finding.testcase.as_deref() == Some(""))
            && own(&finding.item, self.subject.item)
            && own(&finding.item_type, self.subject.item_type)
    }

    /// A result with this outcome. `name` tells it from the job's others: the same job's same name is the same result,
    /// however often it is sent.
    ///
    /// A job ends once; its attempt is not part of the key, since a master whose database was put back from a backup
    /// runs the job anew.
    pub fn result(&self, name: &str, outcome: &str, finding: &Finding) -> Publication {
        let key = key(self.subject.job, name);
        Publication { key, body: self.body(key, outcome, finding) }
    }

    fn body(&self, key: Uuid, outcome: &str, finding: &Finding) -> Value {
        let Subject { job, item, item_type, arch, .. } = self.subject;
        let mut data = said(finding);
        // What finds a result again is ours to say.
        data.insert("item".into(), vec![sayable(finding.item.as_deref().unwrap_or(item))]);
        data.insert("type".into(), vec![sayable(finding.item_type.as_deref().unwrap_or(item_type))]);
        data.insert("job_id".into(), vec![job.to_string()]);
        data.entry("arch".into()).or_insert_with(|| vec![sayable(arch)]);
        let testcase = finding.testcase.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.testcase);
        json!({
            "idempotency_key": key,
            "outcome": outcome,
            "testcase": sayable(testcase),
            "groups": [{
                "uuid": job,
                "description": sayable(&format!("{} {item}", self.task)),
                "ref_url": self.page,
            }],
            "ref_url": self.page,
            "note": finding.note.as_deref().or(self.note).map(sayable),
            "data": data,
        })
    }
}

fn key(job: JobId, name: &str) -> Uuid {
    Uuid::new_v5(&PUBLICATIONS, format!("{job}.{name}").as_bytes())
}

/// The same text without NUL, which no results store takes: refused for ever, a result would keep idle away for ever.
fn sayable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// What a job said beside its outcome, under names that a results store takes: there a colon sets an operator apart.
fn said(finding: &Finding) -> BTreeMap<String, Vec<String>> {
    let mut data: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, texts) in &finding.data {
        data.entry(sayable(name).replace(':', "_")).or_default().extend(texts.iter().map(|text| sayable(text)));
    }
    data
}
