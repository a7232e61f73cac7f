//! The configuration: what is wrong is refused at start, by its key, with the cure; what is right
//! means what it says; and no secret is ever repeated.

mod components;
mod registries;
mod secrets;
mod tiers;

use std::path::Path;

use chrono::TimeDelta;
use mayfly::config::{ClusterConfig, Config, ConfigError, duration};
use mayfly::forge::github::Auth;
use mayfly::preview::RepositoryId;
use proptest::prelude::*;
use secrecy::ExposeSecret;

/// A configuration that is right; tests change one thing of it.
const GOOD: &str = "
ledger: {}
previews:
  suffix: preview.example.com
github: {}
cluster:
  local: {data_dir: /var/lib/mayfly, proxy_listen: '127.0.0.1:8080'}
dns:
  embedded: {listen: '127.0.0.1:5353', target: 127.0.0.1}
databases: {}
reconcile: {lease: 60s}
sweep: {}
policy: {inactivity_ttl: 3d}
repositories:
  - name: acme/shop
    workload: {command: [serve]}
    seed: {directories: []}
";

/// The secrets of a configuration that is right.
const SECRETS: [(&str, &str); 4] = [
    ("MAYFLY_LEDGER__URL", "postgres://mayfly:hush-ledger@db/mayfly"),
    ("MAYFLY_DATABASES__ADMIN_URL", "postgres://admin:hush-admin@db/postgres"),
    ("MAYFLY_GITHUB__TOKEN", "hush-token"),
    ("MAYFLY_GITHUB__WEBHOOK_SECRET", "hush-webhook"),
];

/// Reads a text with the secrets, and these variables over or instead of them; an empty name in
/// `without` leaves one out.
fn read_with(text: &str, more: &[(&str, &str)], without: &[&str]) -> Result<Config, ConfigError> {
    let secrets = SECRETS.iter().filter(|(name, _)| !without.contains(name));
    let all = secrets.chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, all.collect::<Vec<_>>().into_iter())
}

fn read(text: &str, more: &[(&str, &str)]) -> Result<Config, ConfigError> {
    read_with(text, more, &[])
}

/// The good text with `from` replaced by `to`.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the good text");
    GOOD.replacen(from, to, 1)
}

#[track_caller]
fn refused(outcome: Result<Config, ConfigError>, key: &str, cure: &str) {
    let error = outcome.err().unwrap_or_else(|| panic!("{key} was accepted"));
    assert!(error.key.contains(key), "names {key}: {error}");
    assert!(error.why.contains(cure), "says {cure:?}: {error}");
    assert!(!error.to_string().contains("hush"), "repeats a secret: {error}");
}

#[test]
fn a_good_configuration_is_accepted_with_its_defaults() {
    let config = read(GOOD, &[]).unwrap();
    assert_eq!(config.instance, "mayfly");
    assert_eq!(config.limits.lease, TimeDelta::seconds(60));
    let repository = config.repositories.iter().next().unwrap();
    assert_eq!(repository.policy.inactivity_ttl, TimeDelta::days(3));
    assert_eq!(repository.policy.max_life, TimeDelta::days(30));
    assert_eq!(config.ledger_url.expose_secret(), SECRETS[0].1);
    read(&with("ledger: {}", "ledger:"), &[]).expect("a section without a key is a section");
}

#[test]
fn what_cannot_work_is_refused_by_its_key_and_with_the_cure() {
    let shop = "  - name: acme/shop\n";
    let workload = "workload: {command: [serve]}";
    let second =
        |more: &str| format!("{GOOD}  - {more}\n    {workload}\n    seed: {{directories: []}}\n");
    let cases: Vec<(String, &str, &str)> = vec![
        // Unknown keys, at every depth.
        (with("ledger:", "colour: red\nledger:"), "colour", "unknown field"),
        (with("  suffix", "  sufix: x\n  suffix"), "previews", "unknown field `sufix`"),
        (with(shop, "  - nmae: x\n    name: a/b\n"), "repositories[0]", "unknown field `nmae`"),
        (with("{lease: 60s}", "{leese: 60s}"), "reconcile", "unknown field `leese`"),
        // Missing and mistyped ones.
        (with("  suffix: preview.example.com", "  https: true"), "previews", "`suffix`"),
        (with("suffix: preview.example.com", "suffix: [a]"), "previews.suffix", "string"),
        (with("ledger: {}", "ledger: 5"), "ledger", "section"),
        (with("repositories:", "repositories: []\nx:"), "x", "unknown field"),
        // Instance and addresses.
        (format!("instance: ''\n{GOOD}"), "instance", "1 to 30"),
        (format!("instance: Mayfly\n{GOOD}"), "instance", "lower-case"),
        (format!("instance: may-fly\n{GOOD}"), "instance", "underscores"),
        (format!("instance: {}\n{GOOD}", "x".repeat(31)), "instance", "30"),
        (format!("log_format: xml\n{GOOD}"), "log_format", "json nor text"),
        (
            format!("telemetry: {{otlp: {{endpoint: 'collector:4318'}}}}\n{GOOD}"),
            "telemetry.otlp.endpoint",
            "http://collector:4318",
        ),
        (format!("listen: 127.0.0.1:0\n{GOOD}"), "listen", "port 0"),
        (format!("operations_listen: 127.0.0.1:0\n{GOOD}"), "operations_listen", "port 0"),
        (format!("listen: nowhere\n{GOOD}"), "listen", "socket address"),
        (with("127.0.0.1:5353", "127.0.0.1:0"), "dns.embedded.listen", "port 0"),
        (with("127.0.0.1:8080", "127.0.0.1:0"), "cluster.local.proxy_listen", "port 0"),
        (with("  suffix", "  port: 0\n  suffix"), "previews.port", "port 0"),
        (
            with("databases: {}", "databases: {public_sslmode: verify-ca}"),
            "databases.public_sslmode",
            "verify-full",
        ),
        (
            with("databases: {}", "databases: {public_port: 5432}"),
            "databases.public_host",
            "needed",
        ),
        (
            with("databases: {}", "databases: {public_host: db, public_port: 0}"),
            "databases.public_port",
            "port 0",
        ),
        // GitHub.
        (
            with("github: {}", "github: {app: {id: 1, installation_id: 2, private_key_file: /k}}"),
            "github.app",
            "choose one",
        ),
        (with("github: {}", "github: {api_url: api.github.com}"), "github.api_url", "https://"),
        (
            with("github: {}", "github: {limits: {writes_per_minute: 0}}"),
            "github.limits.writes_per_minute",
            "at least 1",
        ),
        (
            with("github: {}", "github: {limits: {points_per_minute: 4}}"),
            "github.limits.points_per_minute",
            "at least 5",
        ),
        // The loop.
        (with("lease: 60s", "lease: 45s, pass_deadline: 45s"), "reconcile.lease", "longer than"),
        (with("lease: 60s", "pass_deadline: 2m"), "reconcile.lease", "pass_deadline"),
        (with("lease: 60s", "poll: 0s"), "reconcile.poll", "longer than nothing"),
        // Policy.
        (with("inactivity_ttl: 3d", "max_life: 1d"), "policy.max_life", "inactivity_ttl"),
        (with("inactivity_ttl: 3d", "inactivity_ttl: 0s"), "inactivity_ttl", "nothing"),
        // Repositories.
        (
            GOOD.split("repositories:").next().unwrap().to_owned() + "repositories: []\n",
            "repositories",
            "at least one",
        ),
        (with("name: acme/shop", "name: shop"), "repositories[0].name", "owner/name"),
        (with(shop, "  - name: a/b\n    prefix: pr\n"), "repositories[0].prefix", "not be \"pr\""),
        (with(shop, "  - name: a/b\n    prefix: a-b\n"), "repositories[0].prefix", "letters"),
        (second("name: acme/docs"), "repositories[1].prefix", "a prefix of its own"),
        (with("command: [serve]", "command: []"), "repositories[0].workload.command", "empty"),
        (
            with("command: [serve]", "command: [serve], probe_path: healthz"),
            "repositories[0].workload.probe_path",
            "begin with /",
        ),
        (
            with("directories: []", "directories: [/nonexistent/seed]"),
            "repositories[0].seed",
            "/nonexistent/seed",
        ),
        (
            with("directories: []", "directories: [], extensions: ['a;b']"),
            "repositories[0].seed",
            "pgcrypto",
        ),
        // YAML itself.
        ("ledger: {".to_owned(), "the file", "not YAML"),
        (format!("{GOOD}\nledger: {{}}\n"), "the file", "not YAML"),
        (String::new(), "", "missing field"),
        ("- 1".to_owned(), "", ""),
    ];
    for (text, key, cure) in cases {
        if (key, cure) == ("", "") {
            assert!(read(&text, &[]).is_err(), "accepted:\n{text}");
        } else {
            refused(read(&text, &[]), key, cure);
        }
    }
}

#[test]
fn two_repositories_that_an_event_could_not_tell_apart_are_refused() {
    let rest = "    workload: {command: [serve]}\n    seed: {directories: []}\n";
    let second = |more: &str| format!("{GOOD}  - {more}\n    prefix: two\n{rest}");
    assert_eq!(read(&second("name: acme/docs"), &[]).unwrap().repositories.iter().count(), 2);
    refused(read(&second("name: acme/shop"), &[]), "repositories[1].name", "twice");
    refused(read(&second("name: Acme/Shop"), &[]), "repositories[1].name", "twice");
    let same_id = second("name: acme/docs\n    id: 7").replacen(
        "  - name: acme/shop",
        "  - name: acme/shop\n    id: 7",
        1,
    );
    refused(read(&same_id, &[]), "repositories[1].id", "another repository's");
    let same_prefix = second("name: acme/docs").replacen(
        "  - name: acme/shop",
        "  - name: acme/shop\n    prefix: two",
        1,
    );
    refused(read(&same_prefix, &[]), "repositories[1].prefix", "unique");
}

#[test]
fn a_suffix_that_is_no_name_for_a_zone_is_refused() {
    let label = "a".repeat(64);
    let long = vec!["abcdefghi"; 20].join(".");
    for bad in [
        "''",
        "Preview.example.com",
        "preview.example.com.",
        ".example.com",
        "192.0.2.1",
        "a..b",
        "-a.example",
        "a-.example",
        "a_b.example",
        "a b",
        "'*.example.com'",
        "ü.example",
        &label,
        &long,
        "'::1'",
        "localhost:8080",
        "https://x",
    ] {
        let text = with("preview.example.com", bad);
        refused(read(&text, &[]), "previews.suffix", "");
    }
    for good in ["localhost", "preview.localhost", "a", "1.example", "xn--bcher-kva.example", "no"]
    {
        assert!(read(&with("preview.example.com", good), &[]).is_ok(), "{good}");
    }
}

#[test]
fn a_length_of_time_that_is_none_is_refused_wherever_it_stands() {
    for bad in ["-1h", "1mo", "1y", "abc", "''", "3", "11y", "4000d", "1h -2h", "99999999999999d"] {
        for (from, key) in [
            ("{lease: 60s}", "reconcile.lease"),
            ("{lease: 60s}", "reconcile.pass_deadline"),
            ("sweep: {}", "sweep.orphans_every"),
            ("{inactivity_ttl: 3d}", "policy.inactivity_ttl"),
        ] {
            let (section, field) = key.split_once('.').unwrap();
            let to = match from.strip_prefix(&format!("{section}: ")) {
                Some(_) => format!("{section}: {{{field}: {bad}}}"),
                None => format!("{{{field}: {bad}}}"),
            };
            refused(read(&with(from, &to), &[]), field, "");
        }
    }
}

#[test]
fn a_secret_that_is_missing_empty_or_blank_is_refused() {
    let without = |name| read_with(GOOD, &[], &[name]);
    for (name, key) in [
        ("MAYFLY_LEDGER__URL", "ledger.url"),
        ("MAYFLY_DATABASES__ADMIN_URL", "databases.admin_url"),
        ("MAYFLY_GITHUB__TOKEN", "github.token"),
        ("MAYFLY_GITHUB__WEBHOOK_SECRET", "github.webhook_secret"),
    ] {
        refused(without(name), key, name);
        for blank in ["", " ", "\t\n"] {
            refused(read(GOOD, &[(name, blank)]), key, "is empty");
        }
    }
    let previous = ("MAYFLY_GITHUB__WEBHOOK_SECRET_PREVIOUS", " ");
    refused(read(GOOD, &[previous]), "github.webhook_secret_previous", "is empty");
}

#[test]
fn a_secret_in_the_configuration_itself_is_refused_and_not_repeated() {
    for (from, to, key, variable) in [
        ("ledger: {}", "ledger: {url: 'postgres://hush'}", "ledger.url", "MAYFLY_LEDGER__URL"),
        ("github: {}", "github: {token: hush}", "github.token", "MAYFLY_GITHUB__TOKEN"),
        ("github: {}", "github: {token: ''}", "github.token", "github.token_file"),
        ("github: {}", "github: {webhook_secret: hush}", "github.webhook_secret", "_file"),
        ("github: {}", "github: {webhook_secret_previous: hush}", "webhook_secret_previous", ""),
        ("databases: {}", "databases: {admin_url: hush}", "databases.admin_url", "MAYFLY_"),
        // Somebody put the URL where its section belongs.
        ("ledger: {}", "ledger: 'postgres://a:hush@b/c'", "ledger", "section"),
        ("databases: {}", "databases: 'postgres://a:hush@b/c'", "databases", "section"),
    ] {
        refused(read(&with(from, to), &[]), key, variable);
    }
    for name in ["MAYFLY_LEDGER", "MAYFLY_DATABASES", "MAYFLY_GITHUB"] {
        let key = name.trim_start_matches("MAYFLY_").to_ascii_lowercase();
        refused(read(GOOD, &[(name, "postgres://a:hush@b/c")]), &key, "section");
    }
}

#[test]
fn a_secret_comes_from_a_file_without_its_last_line_break() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let url = "postgres://ada:s3cret@db/mayfly";
    let [unix, dos, blank] = ["\n", "\r\n", " \n"].map(|end| format!("{url}{end}"));
    for (text, secret) in [(&unix, url), (&dos, url), (&blank, &*format!("{url} "))] {
        let path = file("url", text);
        let config =
            read_with(GOOD, &[("MAYFLY_LEDGER__URL_FILE", &path)], &["MAYFLY_LEDGER__URL"]);
        assert_eq!(config.unwrap().ledger_url.expose_secret(), secret);
    }
    let missing = read_with(
        &with("ledger: {}", "ledger: {url_file: /nonexistent/url}"),
        &[],
        &["MAYFLY_LEDGER__URL"],
    );
    refused(missing, "ledger.url_file", "/nonexistent/url cannot be read");
    let empty = with("ledger: {}", &format!("ledger: {{url_file: {}}}", file("empty", "\n")));
    refused(read_with(&empty, &[], &["MAYFLY_LEDGER__URL"]), "ledger.url", "is empty");
}

#[test]
fn an_app_logs_in_with_its_key_file_and_a_missing_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    std::fs::write(&key, "hush-pem\n").unwrap();
    let app = |path: &Path| {
        let path = path.display();
        with(
            "github: {}",
            &format!("github: {{app: {{id: 1, installation_id: 2, private_key_file: {path}}}}}"),
        )
    };
    let config = read_with(&app(&key), &[], &["MAYFLY_GITHUB__TOKEN"]).unwrap();
    assert!(matches!(config.github.auth, Auth::App { app_id: 1, installation_id: 2, .. }));
    assert!(config.github.redeliver, "an App may ask for its own deliveries");
    assert!(!format!("{config:?}").contains("hush"));
    let missing = read_with(&app(Path::new("/nonexistent/pem")), &[], &["MAYFLY_GITHUB__TOKEN"]);
    refused(missing, "github.app.private_key_file", "/nonexistent/pem");
}

#[test]
fn a_variable_sets_the_key_that_it_spells() {
    let config = read(
        GOOD,
        &[
            ("MAYFLY_PREVIEWS__SUFFIX", "other.example"),
            ("MAYFLY_PREVIEWS__HTTPS", "true"),
            ("MAYFLY_PREVIEWS__PORT", "8443"),
            ("MAYFLY_CLUSTER__LOCAL__GRACE", "7s"),
            ("MAYFLY_RECONCILE__LISTEN", "false"),
            ("MAYFLY_SWEEP__ORPHANS_EVERY", "1h"),
            ("MAYFLY_INSTANCE", "42"),
            ("MAYFLY_POLICY__ONLY_LABEL", "true"),
        ],
    )
    .unwrap();
    assert_eq!(config.site.suffix.as_str(), "other.example");
    assert_eq!((config.site.https, config.site.port), (true, Some(8443)));
    let ClusterConfig::Local(local) = &config.cluster else { panic!("{:?}", config.cluster) };
    assert_eq!(local.grace.as_secs(), 7);
    assert!(!config.limits.listen);
    assert_eq!(config.sweep.orphans_every, TimeDelta::hours(1));
    assert_eq!(config.instance, "42", "text that looks like a number is text where text belongs");
    let policy = &config.repositories.iter().next().unwrap().policy;
    assert_eq!(policy.only_label.as_deref(), Some("true"));
}

#[test]
fn a_variable_that_spells_no_key_is_refused_by_its_name() {
    refused(read(GOOD, &[("MAYFLY_COLOUR", "red")]), "colour", "unknown field");
    refused(read(GOOD, &[("MAYFLY_PREVIEWS__SUFIX", "x")]), "previews", "sufix");
    refused(read(GOOD, &[("MAYFLY_REPOSITORIES__9__NAME", "x")]), "repositories", "__9__NAME");
    refused(read(GOOD, &[("MAYFLY_REPOSITORIES__0__NAME", "x")]), "repositories[0].name", "owner");
    refused(read(GOOD, &[("MAYFLY_RECONCILE__LEASE__X", "x")]), "reconcile.lease", "section");
    refused(read(GOOD, &[("MAYFLY_PREVIEWS__HTTPS", "yes")]), "previews.https", "boolean");
    refused(read(GOOD, &[("MAYFLY_PREVIEWS__PORT", "70000")]), "previews.port", "70000");
}

#[test]
fn what_is_in_every_pod_beside_a_service_called_mayfly_is_no_key() {
    let links = [
        ("MAYFLY_SERVICE_HOST", "10.0.0.1"),
        ("MAYFLY_SERVICE_PORT", "80"),
        ("MAYFLY_SERVICE_PORT_HTTP", "80"),
        ("MAYFLY_PORT", "tcp://10.0.0.1:80"),
        ("MAYFLY_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("MAYFLY_LOG", "debug"),
        ("MAYFLY_TOKEN", "x"),
        ("PATH", "/bin"),
    ];
    read(GOOD, &links).unwrap();
}

#[test]
fn words_that_other_yaml_takes_for_booleans_are_not_taken_for_them_in_silence() {
    for word in ["no", "off", "y"] {
        refused(
            read(&with("  suffix", &format!("  https: {word}\n  suffix")), &[]),
            "https",
            "bool",
        );
        let text = with("inactivity_ttl: 3d", &format!("only_label: {word}"));
        let config = read(&text, &[]).unwrap();
        let policy = &config.repositories.iter().next().unwrap().policy;
        assert_eq!(policy.only_label.as_deref(), Some(word));
    }
    let env = with("command: [serve]", "command: [serve], env: {NORWAY: no}");
    let config = read(&env, &[]).unwrap();
    let shape = &config.repositories.iter().next().unwrap().shape;
    assert_eq!(shape.env, [("NORWAY".to_owned(), "no".to_owned())]);
    let number = with("command: [serve]", "command: [serve], env: {PORT: 8080}");
    refused(read(&number, &[]), "repositories[0].workload.env.PORT", "string");
}

#[test]
fn a_configuration_shows_no_secret_when_it_is_printed() {
    let previous = ("MAYFLY_GITHUB__WEBHOOK_SECRET_PREVIOUS", "hush-previous");
    let config = read(GOOD, &[previous]).unwrap();
    for shown in [format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("preview.example.com"));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    refused(Config::load(Path::new("/nonexistent/mayfly.yaml")), "/nonexistent", "cannot be read");
}

#[test]
fn a_repositorys_policy_wins_over_the_common_one_field_by_field() {
    let text =
        with("policy: {inactivity_ttl: 3d}", "policy: {inactivity_ttl: 5d, warn_before: 0s}")
            .replacen(
                "    workload",
                "    id: 7\n    policy: {inactivity_ttl: 1d}\n    workload",
                1,
            );
    let config = read(&text, &[]).unwrap();
    let repository = config.repositories.iter().next().unwrap();
    assert_eq!(repository.id, Some(RepositoryId(7)));
    assert_eq!(repository.policy.inactivity_ttl, TimeDelta::days(1));
    assert_eq!(repository.policy.warn_before, TimeDelta::zero());
}

proptest! {
    #[test]
    fn reading_a_length_of_time_never_panics(text in ".{0,30}") {
        let _ = duration::parse(&text);
    }

    #[test]
    fn reading_what_looks_like_a_length_of_time_never_panics(
        text in "[-+ ]?[0-9]{0,25}(\\.[0-9]{1,12})? ?(ns|us|ms|s|m|h|d|w|mo|y|P|T|D|H| |-){0,4}"
    ) {
        if let Ok(length) = duration::parse(&text) {
            prop_assert!(length >= TimeDelta::zero());
            prop_assert!(length <= TimeDelta::days(duration::MAX_DAYS));
        }
    }

    #[test]
    fn what_is_written_for_people_is_read_back_to_the_units_shown(
        seconds in prop_oneof![0..200i64, 0..100_000i64, 0..duration::MAX_DAYS * 86_400]
    ) {
        let length = TimeDelta::seconds(seconds);
        let text = duration::human(length);
        let back = duration::parse(&text).unwrap();
        let unit = match text.chars().last() {
            _ if text.split(' ').count() < 2 => 1,
            Some('h') => 3600,
            Some('m') => 60,
            _ => 1,
        };
        let lost = (length - back).num_seconds();
        prop_assert!((0..unit).contains(&lost), "{text}: {lost} s lost");
    }

    #[test]
    fn no_text_makes_the_configuration_panic(text in "[a-z:{}\\[\\] \n'\"&*!|>-]{0,80}") {
        prop_assert!(read(&text, &[]).is_err());
    }
}

#[test]
fn the_example_is_a_configuration_that_works_and_names_every_key() {
    let example = std::fs::read_to_string("mayfly.example.yaml").unwrap();
    let secrets = [
        ("MAYFLY_LEDGER__URL", "postgres://mayfly@localhost/mayfly"),
        ("MAYFLY_DATABASES__ADMIN_URL", "postgres://postgres@localhost/postgres"),
        ("MAYFLY_GITHUB__TOKEN", "a-token"),
        ("MAYFLY_GITHUB__WEBHOOK_SECRET", "a-secret"),
    ];
    let secrets = secrets.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    Config::parse(&example, secrets).unwrap();
    // Every field that the file may hold, as its own parser spells it.
    let parsers = std::fs::read_dir("src/config").unwrap().map(|it| it.unwrap().path());
    let parser: String = parsers.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let structs = parser.split("struct ").filter(|it| {
        it.split_once(' ').is_some_and(|(name, _)| name == "File" || name.ends_with("Part"))
    });
    let lines = structs.flat_map(|it| it.split("\n}").next().unwrap().lines());
    let fields = lines.filter_map(|line| {
        let (name, _) = line.trim().trim_start_matches("pub(super) ").split_once(": ")?;
        name.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(name)
    });
    let mut count = 0;
    for field in fields {
        count += 1;
        let written = example.lines().any(|line| {
            let line = line.trim_start_matches([' ', '#', '-']);
            line.starts_with(&format!("{field}:")) || line.contains(&format!(".{field}:"))
        });
        assert!(written, "{field} is not documented in mayfly.example.yaml");
    }
    assert!(count > 80, "only {count} keys were found");
}

#[test]
fn a_server_of_another_kind_and_nothing_of_what_is_needed_are_refused() {
    for variable in ["MAYFLY_LEDGER__URL", "MAYFLY_DATABASES__ADMIN_URL"] {
        for url in ["mysql://a:hush@b/c", "b/c", "postgres:b"] {
            let key = variable["MAYFLY_".len()..].to_lowercase().replace("__", ".");
            refused(read(GOOD, &[(variable, url)]), &key, "postgres://");
        }
    }
    let same =
        [("MAYFLY_LISTEN", "127.0.0.1:7000"), ("MAYFLY_OPERATIONS_LISTEN", "127.0.0.1:7000")];
    refused(read(GOOD, &same), "listen", "an address each");
    for key in ["databases.connection_limit", "databases.clones_at_once", "ledger.max_connections"]
    {
        let variable = format!("MAYFLY_{}", key.replace('.', "__").to_uppercase());
        refused(read(GOOD, &[(&variable, "0")]), key, "at least");
    }
}

/// A configuration for Kubernetes, with this in place of a text in it.
fn kubernetes(change: (&str, &str)) -> Result<Config, mayfly::config::ConfigError> {
    let digest = "0a".repeat(32);
    let good = with(
        "  local: {data_dir: /var/lib/mayfly, proxy_listen: '127.0.0.1:8080'}\n",
        "  kubernetes:\n    ingress: {class: nginx}\n    tls: {}\n    network: {database: [{cidr: 10.0.0.5/32}], forbidden: [10.0.0.0/8]}\n",
    )
    .replace("command: [serve]", &format!("image: 'ghcr.io/acme/shop@sha256:{digest}', egress: []"))
    .replace("repositories:", "registries: [{host: ghcr.io}]\nrepositories:")
    .replace("embedded: {", "embedded: {data_dir: /tmp/mayfly, ");
    assert!(good.contains("kubernetes:") && good.contains(change.0), "{good}");
    read(&good.replace(change.0, change.1), &[])
}

#[test]
fn what_cannot_work_in_kubernetes_is_refused_with_its_key() {
    let config = kubernetes(("", "")).unwrap();
    let ClusterConfig::Kubernetes(it) = config.cluster else { panic!() };
    let metadata = "169.254.0.0/16".parse().unwrap();
    assert!(it.network.forbidden.contains(&metadata), "metadata services are always forbidden");
    let base = "cluster.kubernetes";
    for (from, to, key, cure) in [
        ("    ingress: {class: nginx}\n", "", base, "ingress and gateway"),
        (
            "class: nginx}",
            "class: nginx}\n    gateway: {namespace: a, name: b}",
            base,
            "exactly one",
        ),
        ("tls: {}", "tls: {cluster_issuer: a, secret: {namespace: a, name: b}}", "tls", "choose"),
        (
            "ingress: {class: nginx}\n    tls: {}",
            "gateway: {namespace: a, name: b}\n    tls: {cluster_issuer: a}",
            "tls",
            "Gateway",
        ),
        ("[10.0.0.0/8]", "[10.0.0.0/33]", "forbidden", "invalid"),
        ("{cidr: 10.0.0.5/32}", "{port: 1}", "database[0]", "cidr and pods"),
        ("egress: []", "egress: [{cidr: 10.1.0.0/16}]", "egress[0].cidr", "no preview may reach"),
        ("egress: []", "egress: [{cidr: 169.254.169.254/32}]", "egress[0].cidr", "no preview"),
        ("acme/shop@sha256:", "acme/shop:latest@", "workload.image", "digest"),
        ("database: [{cidr: 10.0.0.5/32}], ", "", "network.database", "reaches its own"),
        ("{cidr: 10.0.0.5/32}", "{cidr: 10.0.0.5/32, port: 0}", "database[0].port", "nowhere"),
        ("class: nginx", "class: ''", "ingress.class", "name an IngressClass"),
        ("egress: []", "memory_mebibytes: 2097152", "memory_mebibytes", "the most"),
        ("egress: []", "replicas: 0", "workload.replicas", "at least 1"),
        ("ledger: {}", "ledger: {}\ninstance: a_", "instance", "label"),
    ] {
        refused(kubernetes((from, to)), key, cure);
    }
    refused(kubernetes(("data_dir: /tmp/mayfly, ", "")), "dns.embedded.data_dir", "missing");
    let both = with("  local:", "  kubernetes: {ingress: {class: a}}\n  local:");
    refused(read(&both, &[]), "cluster", "exactly one");
}

#[test]
fn the_examples_commented_cluster_works_when_it_is_chosen() {
    let example = std::fs::read_to_string("mayfly.example.yaml").unwrap();
    let (before, rest) = example.split_once("  local:\n").unwrap();
    let (_, rest) = rest.split_once("  # kubernetes:\n").unwrap();
    let (block, after) = rest.split_once("\n\n").unwrap();
    let block: String =
        block.lines().map(|line| format!("  {}\n", line.strip_prefix("  # ").unwrap())).collect();
    let text = format!("{before}  kubernetes:\n{}\n{after}", block.replace("  # kubernetes", ""));
    let text =
        text.replace("      # image:", "      image:").replace("    # data_dir:", "    data_dir:");
    let config = read(&text, &[]).unwrap();
    assert!(matches!(config.cluster, ClusterConfig::Kubernetes(_)));
}

/// The secret of `dns.rfc2136`, in base64.
const TSIG: (&str, &str) = ("MAYFLY_DNS__RFC2136__SECRET", "aHVzaC1odXNoLWh1c2g=");

/// The good text with another way to make names resolve.
fn named_by(section: &str) -> String {
    with("embedded: {listen: '127.0.0.1:5353', target: 127.0.0.1}", section)
}

#[test]
fn the_examples_commented_ways_to_names_work_when_they_are_chosen() {
    let example = std::fs::read_to_string("mayfly.example.yaml").unwrap();
    let example = example.replace("suffix: preview.localhost", "suffix: preview.example.com");
    let (before, rest) = example.split_once("\ndns:\n").unwrap();
    let (section, after) = rest.split_once("\n\n").unwrap();
    for (way, meant) in [
        ("wildcard", "Wildcard(GateConfig"),
        ("external_dns", "ExternalDns(ExternalDnsConfig"),
        ("rfc2136", "Rfc2136(Rfc2136Config"),
    ] {
        let (_, block) = section.split_once(&format!("  # {way}:\n")).unwrap();
        let block = block.lines().map_while(|line| line.strip_prefix("  #   "));
        let block: String = block.map(|line| format!("    {line}\n")).collect();
        let text = format!("{before}\ndns:\n  {way}:\n{block}\n{after}");
        let config = read(&text, &[TSIG][..usize::from(way == "rfc2136")]).unwrap();
        let config = format!("{:?}", config.dns);
        assert!(config.starts_with(meant), "{config}");
        assert!(!config.contains(TSIG.1) && !config.contains("hush"), "{config}");
    }
}

#[test]
fn a_way_to_names_that_cannot_work_is_refused_by_its_key() {
    let rfc2136 = |more: &str| {
        named_by(&format!(
            "rfc2136: {{server: 'ns:53', zone: example.com, key_name: k, target: 192.0.2.7{more}}}"
        ))
    };
    let wildcard = |more: &str| named_by(&format!("wildcard: {{target: {more}}}"));
    read(&rfc2136(""), &[TSIG]).expect("the text that the others change is good");
    read(&wildcard("[192.0.2.7, '2001:db8::7'], zone: com"), &[]).expect("and so is this one");
    for (text, key, cure) in [
        (
            with("dns:\n  embedded: {listen: '127.0.0.1:5353', target: 127.0.0.1}", "dns: {}"),
            "dns",
            "exactly one",
        ),
        (with("dns:\n", "dns:\n  wildcard: {target: 192.0.2.7}\n"), "dns", "exactly one"),
        (named_by("route53: {}"), "dns", "unknown field"),
        (wildcard("[]"), "dns.wildcard.target", "no address"),
        (wildcard("0.0.0.0"), "dns.wildcard.target", "nowhere"),
        (wildcard("[a.example.org, 192.0.2.7]"), "dns.wildcard.target", "addresses alone"),
        (wildcard("ingress"), "dns.wildcard.target", "full host name"),
        (wildcard("'*.example.org'"), "dns.wildcard.target", "full host name"),
        (wildcard("a.preview.example.com"), "dns.wildcard.target", "outside"),
        (wildcard("192.0.2.7, zone: example.org"), "dns.wildcard.zone", "not in the zone"),
        (wildcard("192.0.2.7, servers: ['192.0.2.1:0']"), "dns.wildcard.servers", "port 53"),
        (wildcard("192.0.2.7, resolvers: [dns]"), "dns.wildcard.resolvers", "socket address"),
        (rfc2136(", key_algorithm: hmac-md5"), "dns.rfc2136.key_algorithm", "hmac-sha256"),
        (rfc2136(", ttl_seconds: 86401"), "dns.rfc2136.ttl_seconds", "a day"),
        (rfc2136(", secret: aHVzaC1odXNo"), "dns.rfc2136.secret", "MAYFLY_DNS__RFC2136__SECRET"),
        (rfc2136("").replacen("ns:53", "ns", 1), "dns.rfc2136.server", "host:port"),
        (
            rfc2136("").replacen("example.com, key", "example.org, key", 1),
            "dns.rfc2136.zone",
            "zone",
        ),
        (
            named_by("external_dns: {target: 192.0.2.7, owner_id: ''}"),
            "dns.external_dns.owner_id",
            "--txt-owner-id",
        ),
    ] {
        let secret = text.contains("rfc2136:");
        refused(read(&text, &[TSIG][..usize::from(secret)]), key, cure);
    }
    refused(read(&rfc2136(""), &[]), "dns.rfc2136.secret", TSIG.0);
    for bad in ["hush!", ""] {
        refused(read(&rfc2136(""), &[(TSIG.0, bad)]), "dns.rfc2136.secret", "");
    }
}

/// The good text on Kubernetes, with this chart in a directory that is there.
fn charted(chart: &str) -> String {
    let good = with(
        "local: {data_dir: /var/lib/mayfly, proxy_listen: '127.0.0.1:8080'}",
        "kubernetes: {ingress: {class: a}, network: {database: [{cidr: 192.0.2.1/32, port: 5432}]}}",
    );
    let good = good.replace("embedded: {", "embedded: {data_dir: /var/lib/mayfly, ");
    let chart =
        chart.replace("HERE", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/charts"));
    good.replace("workload: {command: [serve]}", &format!("workload: {{chart: {{{chart}}}}}"))
        + "tools: {helm: /bin/true, kubectl: /bin/true}\n"
}

#[test]
fn a_chart_in_each_of_its_forms_is_taken_instead_of_an_image() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let service = "service: {name: shop, port: 80}";
    for (chart, meant) in [
        (
            "helm: {directory: HERE/plain-web, values: {a: '{{ mayfly.host }}'}}".to_owned(),
            "release: \"shop\"",
        ),
        (
            format!("helm: {{oci: 'oci://ghcr.io/acme/shop', digest: '{digest}'}}"),
            "reference: \"ghcr.io/acme/shop\"",
        ),
        (
            "kustomize: {directory: HERE/kustomize, overlay: overlays/preview}".to_owned(),
            "overlays/preview",
        ),
        ("manifests: {directory: HERE/manifests}".to_owned(), "Manifests"),
    ] {
        let config = read(&charted(&format!("{chart}, {service}")), &[]).unwrap();
        let repository = config.repositories.iter().next().unwrap();
        let shown = format!("{:?}", repository.shape.chart.as_ref().unwrap());
        assert!(shown.contains(meant), "{shown}");
        assert_eq!(config.renderer.tools.helm, Path::new("/bin/true"));
    }
}

#[test]
fn a_chart_that_cannot_be_rendered_is_refused_by_its_key() {
    let service = "service: {name: shop, port: 80}";
    let chart = |chart: &str| read(&charted(chart), &[]);
    let key = |key: &str| format!("repositories[0].workload.chart{key}");
    for (text, wrong, cure) in [
        (
            format!("helm: {{directory: /nonexistent}}, {service}"),
            ".helm.directory",
            "is no directory",
        ),
        (format!("helm: {{oci: ghcr.io/acme/shop}}, {service}"), ".helm.digest", "tag"),
        (format!("helm: {{oci: ghcr.io/a/b, digest: v1}}, {service}"), ".helm.oci", "pinned"),
        (format!("helm: {{}}, {service}"), ".helm.directory", "missing"),
        (
            format!("helm: {{directory: HERE/plain-web, release: A_b}}, {service}"),
            ".helm.release",
            "lower-case",
        ),
        (
            format!("helm: {{directory: HERE/plain-web, values: {{mayfly: {{}}}}}}, {service}"),
            ".helm.values.mayfly",
            "Mayfly's own",
        ),
        (
            format!("kustomize: {{directory: HERE/kustomize, overlay: ../x}}, {service}"),
            ".kustomize.overlay",
            "below",
        ),
        (service.to_owned(), "", "needs one of"),
        (
            format!(
                "helm: {{directory: HERE/plain-web}}, manifests: {{directory: HERE}}, {service}"
            ),
            "",
            "needs one of",
        ),
        (
            "manifests: {directory: HERE}, service: {name: A, port: 80}".to_owned(),
            ".service.name",
            "name",
        ),
        (
            "manifests: {directory: HERE}, service: {name: a, port: 0}".to_owned(),
            ".service.port",
            "1",
        ),
    ] {
        refused(chart(&text), &key(wrong), cure);
    }
    let fine = charted(&format!("helm: {{directory: HERE/plain-web}}, {service}"));
    let both = fine.replace("workload: {", "workload: {command: [serve], ");
    refused(read(&both, &[]), &key(""), "remove one");
    let gone = fine.replace("helm: /bin/true", "helm: /nonexistent/helm");
    refused(read(&gone, &[]), "tools.helm", "is no program");
    for (from, to, key, cure) in [
        ("tools: {", "tools: {timeout: 30s, ", "tools.timeout", "pass_deadline"),
        ("tools: {", "tools: {memory_mebibytes: 1, ", "tools.memory_mebibytes", "at least 128"),
    ] {
        refused(read(&fine.replace(from, to), &[]), key, cure);
    }
}

#[test]
fn migrations_are_read_with_their_defaults_and_refused_with_their_key() {
    use std::time::Duration;
    let migrations = |text: &str| {
        let workload = format!("workload: {{command: [serve], migrations: {{{text}}}}}");
        read(&with("workload: {command: [serve]}", &workload), &[])
    };
    let shape = |text: &str| {
        let config = migrations(text).unwrap();
        let repository = config.repositories.iter().next().unwrap();
        repository.shape.migrations.clone().unwrap()
    };
    let usual = shape("command: [migrate, up]");
    assert_eq!(
        (usual.command.join(" "), usual.timeout),
        ("migrate up".to_owned(), Duration::from_secs(600))
    );
    assert_eq!(usual.directory, None);
    let given = shape("command: [migrate], timeout: 90s, directory: db/migrations/");
    assert_eq!(
        (given.timeout, given.directory.as_deref()),
        (Duration::from_secs(90), Some("db/migrations"))
    );
    for (text, key, cure) in [
        ("", "migrations.command", "which program"),
        ("command: []", "migrations.command", "which program"),
        ("command: ['']", "migrations.command", "which program"),
        ("command: [a], timeout: soon", "migrations.timeout", "duration"),
        ("command: [a], timeout: 0s", "migrations.timeout", "1s to 24h"),
        ("command: [a], timeout: 25h", "migrations.timeout", "1s to 24h"),
        ("command: [a], directory: ''", "migrations.directory", "within the repository"),
        ("command: [a], directory: /db", "migrations.directory", "within the repository"),
        ("command: [a], directory: db/../..", "migrations.directory", "within the repository"),
        ("command: [a], directory: 'db?x=1'", "migrations.directory", "within the repository"),
    ] {
        refused(migrations(text), key, cure);
    }
    assert!(kubernetes(("egress: []", "migrations: {command: [migrate]}")).is_ok());
    refused(kubernetes(("egress: []", "migrations: {}")), "migrations.command", "which program");
}
