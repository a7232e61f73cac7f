//! "Ready" means that the URL serves the commit: when it is said, when it is not, and who waits for it.

use std::time::Duration;

use chrono::TimeDelta;
use mayfly::http::router;
use mayfly::ledger::Role;
use mayfly::preview::{Notice, Part, Phase, PullState, Status};
use reqwest::Method;

use crate::world::faults::Mode;
use crate::world::listener::{Answer, Listener, state};
use crate::world::{World, number, pr, sha};

const TOKEN: &str = "viewer-token-0123456789";

fn ready_of(world: &World, n: u32) -> Option<String> {
    match world.forge.comment(number(n))?.notice {
        Notice::Ready { revision, .. } => Some(revision.commit.to_string()),
        _ => None,
    }
}

#[tokio::test]
async fn ready_is_said_when_visitors_get_the_commit_and_not_when_the_route_is_written() {
    let world = World::new().await;
    world.visitor.hears_after(6);
    for digit in ['a', 'b'] {
        world.push(7, digit).await;
        let mut waited = false;
        while world.phase(7).await != Phase::Ready {
            assert_ne!(ready_of(&world, 7), Some(sha(digit).to_string()), "not served yet");
            let preview = world.preview(7).await;
            let served = preview.conditions.iter().find(|it| it.part == Part::Served);
            waited |= served.is_some_and(|it| {
                it.status == Status::False
                    && (it.message.contains("404") || it.message.contains("still serves"))
            });
            let next = world.ledger.next_due().await.unwrap().expect("it is looked at again");
            world.clock.set(next.max(world.now()));
            world.reconciler.turn().await.unwrap();
        }
        assert!(waited, "it said what the URL answered instead");
        assert_eq!(ready_of(&world, 7), Some(sha(digit).to_string()));
    }
}

#[tokio::test]
async fn what_was_served_runs_on_until_visitors_get_what_replaces_it() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.visitor.hears_after(6);
    world.push(7, 'b').await;
    let mut looked = false;
    while world.phase(7).await != Phase::Ready {
        let routed = world.cluster.routes().into_iter().any(|(_, to)| to.commit == sha('b'));
        if routed {
            looked = true;
            let others = world.cluster.others(&pr(7));
            assert!(others.iter().any(|it| it.commit == sha('a')), "visitors are still led there");
        }
        let next = world.ledger.next_due().await.unwrap().expect("it is looked at again");
        world.clock.set(next.max(world.now()));
        world.reconciler.turn().await.unwrap();
    }
    assert!(looked);
    world.settle().await;
    assert!(world.cluster.others(&pr(7)).is_empty(), "then it goes");
}

#[tokio::test]
async fn a_url_that_stays_wrong_is_told_with_what_it_answers_and_then_taken_back() {
    let world = World::new().await;
    world.faults.always("visitor.observe", Mode::FailBefore);
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::seconds(30)).await;
    assert!(world.serves(7, 'a'), "all is in place");
    assert_eq!(world.phase(7).await, Phase::Starting);
    let notice = world.forge.comment(number(7)).unwrap().notice;
    assert!(matches!(notice, Notice::Preparing { .. }), "an ingress may be slow: {notice:?}");
    world.settle_for(TimeDelta::seconds(90)).await;
    let notice = world.forge.comment(number(7)).unwrap().notice;
    let Notice::Failing { why, .. } = notice else { panic!("{notice:?}") };
    assert!(why.contains("visitor.observe"), "{why}");
    assert_eq!(world.phase(7).await, Phase::Starting);
    world.faults.heal();
    world.settle().await;
    assert_eq!(ready_of(&world, 7), Some(sha('a').to_string()));
}

#[tokio::test]
async fn a_url_that_blinks_is_not_told() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    let said = world.forge.said(number(7)).len();
    world.clock.advance(TimeDelta::hours(1));
    world.ledger.poke_named(&pr(7), world.now()).await.unwrap();
    world.faults.always("visitor.observe", Mode::FailBefore);
    world.reconciler.turn().await.unwrap();
    assert_eq!(world.phase(7).await, Phase::Updating, "nobody can say that it is served");
    world.faults.heal();
    world.settle().await;
    assert_eq!(world.phase(7).await, Phase::Ready);
    assert_eq!(world.forge.said(number(7)).len(), said);
}

/// Asks to wait for a commit of pull request 7.
struct Waiter {
    listener: Listener,
}

impl Waiter {
    async fn new(world: &World) -> Self {
        let (id, until) = (mayfly::clock::fresh_id(), world.now() + TimeDelta::days(1));
        world.ledger.add_token(id, "w", Role::Viewer, TOKEN, until, world.now()).await.unwrap();
        Self { listener: Listener::start(router(state(&world.reconciler))).await }
    }

    async fn wait(&self, sha: &str, timeout: &str) -> Answer {
        let path = format!("/api/v1/previews/pr-7/wait?sha={sha}&timeout={timeout}");
        let request = self.listener.request(Method::GET, &path);
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        self.listener.send(request.timeout(Duration::from_secs(60))).await
    }
}

#[tokio::test]
async fn a_wait_ends_when_the_commit_is_served_and_at_once_when_it_is_already() {
    let world = World::new().await;
    let waiter = Waiter::new(&world).await;
    world.open(7, 'a').await;
    let (a, b) = (sha('a').to_string(), sha('b').to_string());
    let (answer, ()) = tokio::join!(waiter.wait(&a, "50s"), world.settle());
    let answer = answer.ok(200);
    assert_eq!((&answer["head"], &answer["phase"]), (&a.clone().into(), &"Ready".into()));
    waiter.wait(&a, "1ms").await.ok(200);
    // What a pass saw is of then; the URL is asked now.
    world.visitor.silence((&pr(7)).into(), true);
    let stale = waiter.wait(&a, "1ms").await;
    assert_eq!(stale.status, 504, "{stale:?}");
    assert!(stale.text.contains("nothing answers"), "{}", stale.text);
    assert!(world.ledger.next_due().await.unwrap().unwrap() <= world.now(), "a look is due");
    world.reconciler.turn().await.unwrap();
    assert_eq!(world.phase(7).await, Phase::Updating);
    world.visitor.silence((&pr(7)).into(), false);
    world.settle().await;
    waiter.wait(&a, "1ms").await.ok(200);
    // Asked for before anybody heard of it: the pull request is read again.
    world.clock.advance(TimeDelta::seconds(11));
    world.silently(&world.facts(7, 'b'));
    let loops = async {
        while world.phase(7).await != Phase::Ready
            || world.preview(7).await.memory.facts.head != sha('b')
        {
            world.settle().await;
            tokio::task::yield_now().await;
        }
    };
    let (answer, ()) = tokio::join!(waiter.wait(&b, "50s"), loops);
    assert_eq!(answer.ok(200)["head"], b);
}

#[tokio::test]
async fn a_wait_for_what_was_pushed_over_or_is_going_ends_at_once() {
    let world = World::new().await;
    let waiter = Waiter::new(&world).await;
    let (a, b) = (sha('a').to_string(), sha('b').to_string());
    world.open(7, 'a').await;
    let pushed = async {
        world.settle().await;
        world.push(7, 'b').await;
        world.settle().await;
    };
    pushed.await;
    let superseded = waiter.wait(&a, "50s").await.problem(409)["detail"].to_string();
    assert!(superseded.contains(&b), "{superseded}");
    let mut facts = world.facts(7, 'b');
    facts.state = PullState::Closed;
    world.change("closed", facts).await;
    let closed = waiter.wait(&b, "50s").await.problem(409)["detail"].to_string();
    assert!(closed.contains("closed"), "{closed}");
}

#[tokio::test]
async fn a_wait_that_is_over_says_what_is_missing() {
    let world = World::new().await;
    let waiter = Waiter::new(&world).await;
    world.cluster.never_ready("the image is being pulled");
    world.open(7, 'a').await;
    world.settle_for(TimeDelta::seconds(10)).await;
    let late = waiter.wait(&sha('a').to_string(), "50ms").await.problem(504)["detail"].to_string();
    assert!(late.contains("the image is being pulled"), "{late}");
    let unheard =
        waiter.wait(&sha('c').to_string(), "50ms").await.problem(504)["detail"].to_string();
    assert!(unheard.contains("nobody has heard of"), "{unheard}");
    for (sha, timeout) in
        [("abc", "1s"), (&sha('a').to_string(), "2h"), (&sha('a').to_string(), "-1s")]
    {
        waiter.wait(sha, timeout).await.problem(422);
    }
}

#[tokio::test]
async fn what_cannot_be_tidied_up_is_no_failure_of_what_is_served() {
    let world = World::new().await;
    world.open(7, 'a').await;
    world.settle().await;
    world.faults.always("cluster.remove_others", Mode::Refuse);
    world.push(7, 'b').await;
    world.settle_for(TimeDelta::minutes(10)).await;
    assert!(world.serves(7, 'b'));
    assert_eq!(ready_of(&world, 7), Some(sha('b').to_string()));
    let said = world.forge.said(number(7));
    let failing = said.iter().any(|said| matches!(said.notice, Notice::Failing { .. }));
    assert!(!failing, "{said:#?}");
    let preview = world.preview(7).await;
    assert!(preview.last_error.is_some_and(|why| why.contains("refused")), "it is told in the API");
}
