//! What the embedded server keeps through restarts, kills, failed writes and crowds.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{join_all, select};
use mayfly::dns::Dns;
use mayfly::fault::Disposition;
use mayfly::preview::Seen;

use super::{FOREIGN, Place, TARGET, pr, serve, within};

/// Tells the writer that will be killed where to write.
const ZONE_FILE: &str = "MAYFLY_TEST_ZONE_FILE";

#[tokio::test]
async fn records_survive_a_restart() {
    let place = Place::with(&[("pr-666", TARGET, Some("mayfly=elsewhere/pr-666"))]);
    let dns = place.serve();
    dns.ensure_record(&pr(7)).await.unwrap();
    dns.ensure_record(&pr(8)).await.unwrap();
    dns.remove_record(&pr(8)).await.unwrap();
    dns.shutdown().await;
    let dns = place.serve();
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
    assert_eq!(dns.observe(&pr(8)).await, Seen::Absent);
    assert!(dns.observe(&pr(FOREIGN)).await.is_foreign());
    assert_eq!(dns.owned().await.unwrap(), [pr(7)]);
}

/// The part of `what_was_answered_as_done_survives_sigkill` that is killed.
#[tokio::test]
#[ignore = "runs until it is killed; started by another test"]
async fn write_until_killed() {
    let Some(file) = std::env::var_os(ZONE_FILE) else { return };
    let dns = serve(Path::new(&file), TARGET).unwrap();
    for number in 1.. {
        dns.ensure_record(&pr(number)).await.unwrap();
        println!("\ndone {number}");
    }
}

#[tokio::test]
async fn what_was_answered_as_done_survives_sigkill() {
    let module = module_path!().split_once("::").unwrap().1;
    for kill_after in [1, 7, 60] {
        let place = Place::empty();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::write_until_killed")])
            .args(["--ignored", "--nocapture"])
            .env(ZONE_FILE, place.file())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut done = BTreeSet::new();
        for line in lines {
            if let Some(number) = line.strip_prefix("done ") {
                done.insert(pr(number.parse().unwrap()));
            }
            if done.len() == kill_after {
                child.kill().unwrap(); // SIGKILL; lines that are already in the pipe still count
            }
        }
        child.wait().unwrap();
        assert!(done.len() >= kill_after);
        let dns = place.serve();
        let owned: BTreeSet<_> = dns.owned().await.unwrap().into_iter().collect();
        assert!(owned.is_superset(&done), "{:?} lost", done.difference(&owned));
        assert!(owned.len() <= done.len() + 1, "one more may be done and not answered yet");
    }
}

#[tokio::test]
async fn the_file_is_whole_at_every_moment() {
    let place = Place::empty();
    let dns = place.serve();
    dns.ensure_record(&pr(1)).await.unwrap();
    let (file, done) = (place.file(), Arc::new(AtomicBool::new(false)));
    let reader = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(&file).unwrap();
                serde_json::from_str::<serde_json::Value>(&text).expect(&text);
            }
        }
    });
    for number in 2..200 {
        dns.ensure_record(&pr(number)).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    reader.join().expect("no reader ever met a half of it");
}

#[tokio::test]
async fn a_half_written_change_is_as_if_it_never_was() {
    let place = Place::empty();
    let dns = place.serve();
    dns.ensure_record(&pr(7)).await.unwrap();
    dns.shutdown().await;
    std::fs::write(place.dir.path().join("zone.json.new"), r#"{"records":{"pr-8":{"#).unwrap();
    let dns = place.serve();
    assert_eq!(dns.owned().await.unwrap(), [pr(7)]);
    dns.ensure_record(&pr(9)).await.unwrap();
    dns.shutdown().await;
    assert_eq!(place.serve().owned().await.unwrap(), [pr(7), pr(9)]);
}

#[tokio::test]
async fn a_change_that_cannot_be_kept_is_a_fault_and_is_not_served() {
    let place = Place::empty();
    let dns = place.serve();
    std::fs::create_dir(place.dir.path().join("zone.json.new")).unwrap();
    let fault = dns.ensure_record(&pr(7)).await.unwrap_err();
    assert_eq!(fault.disposition, Disposition::Transient);
    assert!(fault.to_string().contains("zone.json"), "{fault}");
    assert_eq!(dns.observe(&pr(7)).await, Seen::Absent);
    std::fs::remove_dir(place.dir.path().join("zone.json.new")).unwrap();
    dns.ensure_record(&pr(7)).await.unwrap();
    assert_eq!(dns.observe(&pr(7)).await, Seen::Present(()));
}

#[tokio::test]
async fn a_change_goes_on_when_its_caller_goes_away() {
    let place = Place::empty();
    let dns = place.serve();
    let name = pr(7);
    let gone = select(dns.ensure_record(&name), std::future::ready(())).await;
    drop(gone);
    let there = async { while dns.observe(&name).await != Seen::Present(()) {} };
    within(there).await;
    dns.shutdown().await;
    assert_eq!(place.serve().owned().await.unwrap(), [name]);
}

#[tokio::test]
async fn a_zone_file_that_cannot_be_read_is_refused_by_its_path() {
    for content in [
        "",
        r#"{"records":{"pr-7""#,
        r#"{"records":{},"more":1}"#,
        r#"{"records":{"PR-7":{"address":"192.0.2.7","stamp":null}}}"#,
        r#"{"records":{"a.b":{"address":"192.0.2.7","stamp":null}}}"#,
        r#"{"records":{"ns":{"address":"192.0.2.7","stamp":null}}}"#,
    ] {
        let place = Place::empty();
        std::fs::write(place.file(), content).unwrap();
        let fault = serve(&place.file(), TARGET).err().expect(content);
        assert_eq!(fault.disposition, Disposition::Permanent);
        assert!(fault.to_string().contains(place.file().to_str().unwrap()), "{fault}");
        assert_eq!(std::fs::read_to_string(place.file()).unwrap(), content, "left as it was");
    }
}

#[tokio::test]
async fn a_zone_file_has_one_writer() {
    let place = Place::empty();
    let dns = place.serve();
    let fault = serve(&place.file(), TARGET).err().unwrap();
    assert_eq!(fault.disposition, Disposition::Transient);
    dns.shutdown().await;
    assert!(dns.ensure_record(&pr(7)).await.is_err());
    assert!(dns.owned().await.is_err(), "all or a fault");
    place.serve();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_lose_none() {
    let place = Place::empty();
    let dns = place.serve();
    let names: Vec<_> = (1..=200).map(pr).collect();
    for done in join_all(names.iter().map(|name| dns.ensure_record(name))).await {
        done.unwrap();
    }
    for name in &names {
        assert_eq!(dns.observe(name).await, Seen::Present(()));
    }
    dns.shutdown().await;
    let owned: BTreeSet<_> = place.serve().owned().await.unwrap().into_iter().collect();
    assert_eq!(owned, names.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_amid_changes_never_takes_ours_for_a_strangers() {
    let place = Place::empty();
    let dns = place.serve();
    let name = pr(7);
    let changes = async {
        for _ in 0..100 {
            dns.ensure_record(&name).await.unwrap();
            dns.remove_record(&name).await.unwrap();
        }
    };
    let looks = async {
        loop {
            let seen = dns.observe(&name).await;
            assert!(matches!(seen, Seen::Present(()) | Seen::Absent), "{seen:?}");
        }
    };
    tokio::select! {
        () = changes => {}
        () = looks => {}
    }
}
