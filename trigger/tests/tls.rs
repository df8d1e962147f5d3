//! `amqps://` against a real RabbitMQ that wants to know who we are: the certificate is the login.

mod kit;

use std::path::Path;
use std::process::Command;

use kit::{Bench, Broker, Bus, ids, start};
use trigger::amqp::Settings;

/// An authority, and certificates that it signs.
struct Authority<'a>(&'a Path);

impl Authority<'_> {
    fn openssl(&self, arguments: &[&str]) {
        let output =
            Command::new("openssl").current_dir(self.0).args(arguments).output().expect("openssl is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `NAME.pem` and `NAME.key`, signed by nobody else.
    fn root(&self, name: &str) {
        let (cert, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
        self.key_and(&["-x509", "-days", "30", "-subj", &subject, "-keyout", &key, "-out", &cert]);
    }

    /// `NAME.pem` and `NAME.key` for this machine, signed by `ca`.
    fn sign(&self, ca: &str, name: &str) {
        let (cert, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
        let (by, by_key) = (format!("{ca}.pem"), format!("{ca}.key"));
        let extensions =
            ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
        let common = ["-x509", "-days", "30", "-subj", &subject, "-CA", &by, "-CAkey", &by_key];
        self.key_and(&[&common[..], &extensions, &["-keyout", &key, "-out", &cert]].concat());
    }

    fn key_and(&self, arguments: &[&str]) {
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
        self.openssl(&[&new[..], arguments].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_the_login_and_each_way_it_fails_is_told() {
    let bench = Bench::new();
    let at = |name: &str| Some(bench.path("tls").join(name));
    let folder = bench.path("tls");
    std::fs::create_dir(&folder).unwrap();
    let authority = Authority(&folder);
    authority.root("ca");
    authority.root("other");
    authority.sign("ca", "broker");
    authority.sign("ca", "tester");
    authority.sign("ca", "stranger");
    authority.sign("other", "impostor");
    let both = ["other.pem", "ca.pem"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap()).concat();
    std::fs::write(folder.join("several.pem"), format!("A text that is no certificate, as such files have.\n{both}"))
        .unwrap();

    let (broker, port) = Broker::start_tls(&folder);
    broker.ctl(&["add_user", "tester", "no password logs in"]);
    broker.ctl(&["clear_password", "tester"]);
    broker.ctl(&["set_permissions", "tester", ".*", ".*", ".*"]);
    let queue = Bus::at(broker.tell("url"));
    let tester = bus::Broker {
        urls: vec![format!("amqps://tester:@localhost:{port}/%2F?auth_mechanism=external")],
        ca_file: at("several.pem"),
        cert_file: at("tester.pem"),
        key_file: at("tester.key"),
        ..bus::Broker::default()
    };
    let with = |broker: bus::Broker| Settings { broker, ..queue.settings() };

    let trigger = start(&bench, with(tester.clone()));
    trigger.consuming().await;
    queue.publish([1]).await;
    trigger.has(|m| &m.recorded, 1).await;
    trigger.stop().await;
    assert_eq!(ids(&bench), ["e-1"]);

    let plain = tester.urls[0].replace("?auth_mechanism=external", "");
    let to_plain_port = format!("amqps://localhost:{}/%2F", broker.tell("url").rsplit([':', '/']).nth(1).unwrap());
    let cases = [
        (bus::Broker { ca_file: at("other.pem"), ..tester.clone() }, "ca_file must hold the authority"),
        (bus::Broker { ca_file: at("broker.key"), ..tester.clone() }, "holds no certificate"),
        (bus::Broker { ca_file: at("nowhere.pem"), ..tester.clone() }, "cannot read certificates"),
        (bus::Broker { cert_file: None, key_file: None, ..tester.clone() }, "set cert_file and key_file"),
        (
            bus::Broker { cert_file: at("impostor.pem"), key_file: at("impostor.key"), ..tester.clone() },
            "the broker does not take our certificate",
        ),
        (bus::Broker { key_file: at("stranger.key"), ..tester.clone() }, "do not go together"),
        (
            bus::Broker { cert_file: at("stranger.pem"), key_file: at("stranger.key"), ..tester.clone() },
            "the broker must know the user that the certificate names",
        ),
        (bus::Broker { urls: vec![plain], ..tester.clone() }, "?auth_mechanism=external"),
        (bus::Broker { urls: vec![to_plain_port], ..tester.clone() }, "does it speak TLS on this port?"),
    ];
    for (broker, told) in cases {
        let trigger = start(&bench, with(broker));
        trigger.is_in_trouble(told).await;
        println!("{}", trigger.metrics.troubles.list()[0].what);
        trigger.stop().await;
    }
}
