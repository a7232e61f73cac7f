//! Going back to a commit that was served, and on from there.

use chrono::TimeDelta;
use mayfly::clock::fresh_id;
use mayfly::http::router;
use mayfly::ledger::Role;
use mayfly::preview::{Notice, Phase};
use mayfly::workload::{ImageTag, ImageTemplate};
use reqwest::Method;

use crate::world::listener::{Answer, Listener, state};
use crate::world::{World, number, pr, repository, sha};

const TOKEN: &str = "operator-token-0123456789";

/// A preview whose pull request had these commits, each served, each with an image of its own.
struct Served {
    world: World,
    api: Listener,
}

impl Served {
    async fn these(digits: &str) -> Self {
        let mut world = World::new().await;
        let mut repository = repository();
        repository.shape.pod.image = None;
        let template = "registry.test/acme/shop:{{ sha }}";
        repository.shape.image = Some(ImageTemplate::parse(template).unwrap());
        world.configure(repository);
        let until = world.now() + TimeDelta::days(90);
        world
            .ledger
            .add_token(fresh_id(), "otto", Role::Operator, TOKEN, until, world.now())
            .await
            .unwrap();
        let api = Listener::start(router(state(&world.reconciler))).await;
        let served = Self { world, api };
        for digit in digits.chars() {
            served.push(digit).await;
            assert!(served.world.serves(7, digit));
        }
        served
    }

    async fn push(&self, digit: char) {
        self.built(digit, digit);
        self.world.clock.advance(TimeDelta::minutes(1));
        self.world.push(7, digit).await;
        self.world.settle().await;
    }

    fn built(&self, digit: char, image: char) {
        let tag = format!("registry.test/acme/shop:{}", sha(digit));
        self.world.images.push(&ImageTag::parse(&tag).unwrap(), image);
    }

    async fn ask(&self, method: Method, path: &str) -> Answer {
        let request = self.api.request(method, &format!("/api/v1/previews/pr-7{path}"));
        self.api.send(request.header("authorization", format!("Bearer {TOKEN}"))).await
    }

    async fn back(&self, to: &str) -> Answer {
        self.ask(Method::POST, &format!("/rollback{to}")).await
    }

    /// The commit that the pull request was last told to be ready, and the head that is not.
    fn told(&self) -> (String, Option<String>) {
        let said = self.world.forge.comment(number(7)).unwrap();
        let Notice::Ready { revision, .. } = said.notice else { panic!("{said:?}") };
        (revision.commit.to_string(), said.rolled_back_from.map(|it| it.to_string()))
    }
}

#[tokio::test]
async fn a_rollback_serves_the_commit_before_with_its_own_image_until_the_next_push() {
    let it = Served::these("ab").await;
    let image = |world: &World| world.cluster.orders().pop().unwrap().1.shape.pod.image.unwrap();
    let of_b = image(&it.world);
    // A moved tag changes nothing of what was pinned.
    it.built('a', 'f');
    let answer = it.back("").await.ok(202);
    assert_eq!(answer["rolled_back_to"], sha('a').to_string());
    assert_eq!(answer["head"], sha('b').to_string());
    assert_ne!(answer["phase"], "Ready", "it is not yet so");
    it.world.settle().await;
    assert_eq!(it.world.phase(7).await, Phase::Ready);
    assert_eq!(it.world.cluster.serving(&pr(7)).unwrap().commit, sha('a'));
    let of_a = image(&it.world).to_string();
    assert!(of_a != of_b.to_string() && !of_a.contains("ffff"), "{of_a}");
    assert_eq!(it.told(), (sha('a').to_string(), Some(sha('b').to_string())));
    let wait = |digit| format!("/wait?sha={}&timeout=50ms", sha(digit));
    it.ask(Method::GET, &wait('a')).await.ok(200);
    let never = it.ask(Method::GET, &wait('b')).await.problem(409)["detail"].to_string();
    assert!(never.contains("went back"), "{never}");

    it.push('c').await;
    assert!(it.world.serves(7, 'c'), "a push goes on from the head");
    assert_eq!(it.told(), (sha('c').to_string(), None));
    assert!(it.ask(Method::GET, "").await.ok(200)["rolled_back_to"].is_null());
}

#[tokio::test]
async fn a_rollback_of_what_never_became_ready_is_to_the_last_that_did() {
    let it = Served::these("ab").await;
    it.world.cluster.failing("it crashes");
    it.built('c', 'c');
    it.world.push(7, 'c').await;
    it.world.settle_for(TimeDelta::minutes(2)).await;
    assert_ne!(it.world.phase(7).await, Phase::Ready);
    it.world.cluster.ready_again();
    it.back("").await.ok(202);
    it.world.settle().await;
    assert_eq!(it.world.cluster.serving(&pr(7)).unwrap().commit, sha('b'));
    assert_eq!(it.world.phase(7).await, Phase::Ready);
}

#[tokio::test]
async fn a_rollback_may_name_any_commit_that_was_served_and_the_head_ends_it() {
    let it = Served::these("abc").await;
    it.back(&format!("?to={}", sha('a'))).await.ok(202);
    it.world.settle().await;
    assert_eq!(it.world.cluster.serving(&pr(7)).unwrap().commit, sha('a'));
    it.back(&format!("?to={}", sha('c'))).await.ok(202);
    it.world.settle().await;
    assert!(it.world.serves(7, 'c'));
    assert_eq!(it.told(), (sha('c').to_string(), None));
}

#[tokio::test]
async fn what_was_never_served_cannot_be_gone_back_to() {
    let it = Served::these("a").await;
    let why = it.back("").await.problem(409)["detail"].to_string();
    assert!(why.contains("no other commit"), "{why}");
    let why = it.back(&format!("?to={}", sha('d'))).await.problem(409)["detail"].to_string();
    assert!(why.contains("never served"), "{why}");
    it.back("?to=abc").await.problem(422);
    it.back("?too=abc").await.problem(400);
    it.world.close(7, 'a').await;
    it.world.settle().await;
    it.back("").await.problem(409);
}
