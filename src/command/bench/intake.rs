//! Messages that wait in a queue, through 200 rules into the event log and the master.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::Servers;
use super::broker::Broker;
use super::figure::{Figure, Unit};
use super::limit::{self, per_second};
use super::site::{self, Site, TRUE};

#[derive(Args, Debug)]
pub struct Intake {
    /// How many messages, each time
    #[arg(long, default_value_t = 40_000, value_name = "N")]
    messages: usize,
}

const TOPIC: &str = "org.fedoraproject.prod.buildsys.build.state.change";

/// 200 rules: half of them look into every build, half wait for topics of their own.
fn rules() -> String {
    let mut text = format!("{TRUE}rules:\n");
    for n in 0..100 {
        write!(
            text,
            "  - {{ name: kind-{n}, kind: KojiBuildCompleted, when: {{ name: package-{n} }}, do: [{{ tasks: [bench] }}] }}
  - {{ name: topic-{n}, topics: ['org.fedoraproject.*.service-{n}.#'],
       do: [{{ tasks: [bench], item: '{{{{ id }}}}', item_type: x }}] }}\n"
        )
        .expect("writing to a String cannot fail");
    }
    text
}

impl Intake {
    pub async fn measure(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        let url = servers.amqp()?;
        let messages = limit::messages(url).await?;
        let mut figures = Vec::new();
        for (what, matching, first, goal) in
            [("nothing matches", false, 4_000.0, 8_000.0), ("each makes a job", true, 1_500.0, 4_000.0)]
        {
            let broker = Broker::connect(url).await?;
            let amqp = broker.settings(url);
            let adjust = |settings: &mut crate::settings::Settings| settings.trigger.amqp = Some(amqp);
            let run = async |site: &mut Site| self.run(site, &broker, matching).await;
            let engine = servers.engine()?;
            let name = engine.name();
            let measured = site::on(engine, &rules(), adjust, run).await;
            broker.close().await?;
            let (acknowledged, taken) = measured?;
            let figure =
                |of: &str, value| Figure::new(format!("intake, 200 rules, {what}: {of}"), name, value, Unit::PerSecond);
            let limited = |figure: Figure| figure.limit("published, consumed, acknowledged", messages, Unit::PerSecond);
            figures.push(limited(figure("recorded", acknowledged).budget(first, goal)));
            figures.push(limited(figure("stored by the master", taken).budget(first, goal)));
        }
        Ok(figures)
    }

    /// Messages a second into the event log, and into the master, from the start of the trigger's process.
    async fn run(&self, site: &mut Site, broker: &Broker, matching: bool) -> anyhow::Result<(f64, f64)> {
        broker.publish_all((0..self.messages).map(|n| message(n, matching))).await?;
        site.start(&["master"]).await?;
        let (begun, count, look) = (Instant::now(), self.messages as u64, Duration::from_millis(50));
        site.start(&["trigger"]).await?;
        site.until("all to be recorded", look, |s| s.intake.recorded == count).await?;
        let recorded = per_second(self.messages, begun);
        let jobs = if matching { count } else { 0 };
        let there = site.until("all to be forwarded", look, |s| s.intake.forwarded == count && s.jobs.queued == jobs);
        there.await?;
        Ok((recorded, per_second(self.messages, begun)))
    }
}

/// A finished build, as long as they are; of a package that a rule wants, or that none wants.
fn message(n: usize, matching: bool) -> (String, String, Vec<u8>) {
    let filler: Vec<_> = (0..20).map(|n| json!({"n": n, "text": "some text of a usual length"})).collect();
    let name = if matching { format!("package-{}", n % 100) } else { "vim".into() };
    let body = json!({"attribute": "state", "new": 1, "name": name, "version": "1", "release": "2", "build_id": n,
        "instance": "primary", "filler": filler});
    (TOPIC.to_owned(), format!("bench-{n}"), body.to_string().into_bytes())
}
