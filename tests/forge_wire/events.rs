//! A delivery gives facts or an error, whatever is in it.

use mayfly::demo::github::{GitHubStandIn, PullSpec};
use mayfly::forge::RepositoryRef;
use mayfly::forge::event::{self, Event, EventError};
use mayfly::preview::{PullFacts, PullState, RepositoryId};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::SHA;

fn delivery() -> Value {
    json!({
        "action": "opened",
        "repository": { "id": 42, "full_name": "acme/shop" },
        "pull_request": {
            "number": 7, "state": "open", "merged": false, "draft": false,
            "title": "A change", "updated_at": "2026-01-02T03:04:05Z",
            "user": { "login": "octavia" }, "author_association": "MEMBER",
            "labels": [{ "name": "preview" }],
            "head": { "sha": SHA, "repo": { "id": 42 } },
            "base": { "repo": { "id": 42 } },
        },
    })
}

fn parse(delivery: &Value) -> Result<Event, EventError> {
    event::parse("pull_request", &serde_json::to_vec(delivery).unwrap())
}

/// The facts of the delivery with one value replaced.
fn with(pointer: &str, value: Value) -> Result<PullFacts, EventError> {
    let mut delivery = delivery();
    *delivery.pointer_mut(pointer).unwrap() = value;
    match parse(&delivery)? {
        Event::Pull { facts, .. } => Ok(facts),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_delivery_of_full_size_is_read() {
    let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    hub.add_repository(42, "acme/shop");
    let fork = PullSpec {
        fork: true,
        association: "CONTRIBUTOR".to_owned(),
        labels: vec!["preview".to_owned()],
        ..PullSpec::new("A change", SHA)
    };
    hub.open_pull("acme/shop", 7, fork);
    let body = hub.payload("acme/shop", 7, "synchronize");
    let Event::Pull { repository_id, full_name, action, facts } = parse(&body).unwrap() else {
        panic!("not a pull request")
    };
    assert_eq!(repository_id, RepositoryId(42));
    assert_eq!(full_name, RepositoryRef::parse("acme/shop").unwrap());
    assert_eq!(action, "synchronize");
    assert!(facts.fork && !facts.trusted_author && !facts.draft);
    assert_eq!((facts.state, facts.head.as_str()), (PullState::Open, SHA));
    assert_eq!(facts.labels, ["preview"]);
}

#[tokio::test]
async fn every_change_moves_the_stand_ins_time_forward() {
    let hub = GitHubStandIn::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    hub.add_repository(42, "acme/shop");
    hub.open_pull("acme/shop", 7, PullSpec::new("A change", SHA));
    let facts = || match parse(&hub.payload("acme/shop", 7, "edited")).unwrap() {
        Event::Pull { facts, .. } => facts,
        other => panic!("{other:?}"),
    };
    let mut before = facts();
    let changes: [&dyn Fn(); 6] = [
        &|| hub.push("acme/shop", 7, &SHA.replace('0', "1")),
        &|| hub.set_draft("acme/shop", 7, true),
        &|| hub.set_labels("acme/shop", 7, &["a"]),
        &|| hub.close("acme/shop", 7, false),
        &|| hub.reopen("acme/shop", 7),
        &|| hub.close("acme/shop", 7, true),
    ];
    for change in changes {
        change();
        assert!(facts().updated_at > before.updated_at);
        before = facts();
    }
    assert_eq!(before.state, PullState::Merged);
}

#[test]
fn other_events_are_no_errors() {
    assert_eq!(event::parse("ping", b"{}"), Ok(Event::Ping));
    assert_eq!(event::parse("push", b"not json"), Ok(Event::Ignored("push".to_owned())));
    let Ok(Event::Ignored(name)) = event::parse(&"x\n".repeat(9_999), b"") else { panic!() };
    assert!(name.len() <= 100 && !name.contains('\n'));
}

#[test]
fn any_action_means_the_same() {
    let facts = with("/action", json!("opened")).unwrap();
    for action in ["closed", "labeled", "enqueued", "invented_tomorrow"] {
        assert_eq!(with("/action", json!(action)).unwrap(), facts);
    }
}

#[test]
fn what_we_need_and_do_not_get_is_an_error() {
    let table = [
        ("/pull_request/number", json!(-7)),
        ("/pull_request/number", json!(0)),
        ("/pull_request/number", json!(4_294_967_296_i64)),
        ("/pull_request/number", json!(1e300)),
        ("/pull_request/number", json!(u64::MAX)),
        ("/pull_request/number", json!("7")),
        ("/pull_request/number", json!(null)),
        ("/pull_request/state", json!("half-open")),
        ("/pull_request/head/sha", json!("main")),
        ("/pull_request/head/sha", json!(&SHA[..39])),
        ("/pull_request/head/sha", json!(SHA.to_uppercase())),
        ("/pull_request/head/sha", json!(null)),
        ("/pull_request/base/repo", json!(null)),
        ("/pull_request/base/repo/id", json!(-42)),
        ("/pull_request/base/repo/id", json!(43)),
        ("/pull_request/updated_at", json!("yesterday")),
        ("/pull_request/updated_at", json!("+99999-01-01T00:00:00Z")),
        ("/pull_request/author_association", json!(null)),
        ("/pull_request/labels", json!([{}])),
        ("/pull_request", json!([])),
        ("/repository/full_name", json!("../../etc")),
        ("/repository/id", json!(43)),
        ("/action", json!(7)),
    ];
    for (pointer, value) in table {
        assert!(with(pointer, value.clone()).is_err(), "{pointer} = {value}");
    }
    for body in ["", "null", "[]", "{}", "{\"action\":", "\u{feff}{}"] {
        assert!(event::parse("pull_request", body.as_bytes()).is_err(), "{body:?}");
    }
}

#[test]
fn who_and_whence_is_read_on_the_safe_side() {
    for (repo, fork) in
        [(json!({ "id": 42 }), false), (json!({ "id": 9 }), true), (Value::Null, true)]
    {
        assert_eq!(with("/pull_request/head/repo", repo).unwrap().fork, fork);
    }
    // What an event says of an author's rights is never believed.
    for association in ["OWNER", "MEMBER", "COLLABORATOR", "CONTRIBUTOR", "NONE", "owner", ""] {
        let mut fork = delivery();
        *fork.pointer_mut("/pull_request/head/repo").unwrap() = json!({ "id": 9 });
        *fork.pointer_mut("/pull_request/author_association").unwrap() = json!(association);
        let Event::Pull { facts, .. } = parse(&fork).unwrap() else { panic!("no pull request") };
        assert!(!facts.trusted_author, "{association}");
    }
    assert_eq!(with("/pull_request/user", Value::Null).unwrap().author, "ghost");
}

#[test]
fn merged_is_told_from_closed_in_deliveries_and_in_lists() {
    let at = || json!("2026-01-02T03:04:05Z");
    let table = [
        ("open", json!(false), Value::Null, PullState::Open),
        ("closed", json!(false), Value::Null, PullState::Closed),
        ("closed", json!(true), at(), PullState::Merged),
        ("closed", Value::Null, at(), PullState::Merged),
        ("closed", Value::Null, Value::Null, PullState::Closed),
    ];
    for (state, merged, merged_at, wanted) in table {
        let mut delivery = delivery();
        let pull = delivery["pull_request"].as_object_mut().unwrap();
        pull.insert("state".to_owned(), json!(state));
        pull.insert("merged_at".to_owned(), merged_at);
        pull.remove("merged");
        if !merged.is_null() {
            pull.insert("merged".to_owned(), merged);
        }
        let Ok(Event::Pull { facts, .. }) = parse(&delivery) else { panic!() };
        assert_eq!(facts.state, wanted);
    }
}

#[test]
fn free_text_is_bounded_and_holds_no_control_characters() {
    let title =
        with("/pull_request/title", json!(format!("a\u{0}b\n{}", "é".repeat(999)))).unwrap().title;
    assert!(title.starts_with("a b é") && title.chars().count() == 256);
    let labels: Vec<Value> = (0..200).map(|_| json!({ "name": "l".repeat(200) })).collect();
    let labels = with("/pull_request/labels", json!(labels)).unwrap().labels;
    assert!(labels.len() == 100 && labels.iter().all(|label| label.len() == 100));
    let error = with("/pull_request/number", json!("9".repeat(9_999))).unwrap_err();
    assert!(error.to_string().len() < 300);
}

#[test]
fn deep_nesting_is_survived() {
    let deep = "[".repeat(200_000);
    let body = format!("{{\"ignored\":{deep}{}}}", "]".repeat(200_000));
    for body in [deep, body] {
        assert!(event::parse("pull_request", body.as_bytes()).is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(name in "ping|pull_request|.{0,9}", body: Vec<u8>) {
        let _ = event::parse(&name, &body);
    }

    #[test]
    fn no_cut_of_a_delivery_is_believed(cut: prop::sample::Index) {
        let body = serde_json::to_vec(&delivery()).unwrap();
        prop_assert!(event::parse("pull_request", &body[..cut.index(body.len())]).is_err());
    }
}
