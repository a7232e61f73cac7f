//! A preview's whole life with its name in a real zone.

use std::sync::Arc;

use mayfly::preview::Phase;
use mayfly::reconcile::Seams;

use super::SUFFIX;
use super::bind::dns;
use crate::world::bind::{Bind, Wanted};
use crate::world::wait::until;
use crate::world::{World, number, pr};

/// Runs what is due until the preview is in this phase; the servers need real time.
async fn until_phase(world: &World, phase: Phase) {
    until(phase.as_str(), async || {
        world.reconciler.turn().await.unwrap();
        if let Some(next) = world.ledger.next_due().await.unwrap() {
            world.clock.set(next.max(world.now()));
        }
        world.phase(7).await == phase
    })
    .await;
}

#[tokio::test]
async fn a_life_in_a_real_zone_ends_with_the_zone_as_it_was() {
    let wanted = Wanted { secondary: true, resolver: true, ..Wanted::default() };
    let Some(bind) = Bind::start(wanted).await else { return };
    let before = bind.zone();
    let mut world = World::new().await;
    let seams = Seams { dns: Arc::new(dns(&bind)), ..world.reconciler.seams.clone() };
    let limits = world.reconciler.limits;
    world.reconciler = world.replica_with(world.ledger.clone(), seams, world.clock.clone(), limits);

    world.open(7, 'a').await;
    until_phase(&world, Phase::Ready).await;
    let host = format!("pr-7.{SUFFIX}");
    for named in [&bind.primary, bind.secondary.as_ref().unwrap(), bind.resolver.as_ref().unwrap()]
    {
        assert_eq!(named.dig(&[&host, "A", "+short"]).trim(), super::bind::LED);
    }
    assert!(world.forge.deployment_active(&pr(7)));

    bind.edit(&[&format!("update delete {host} A")]);
    until("another hand's change is mended", async || {
        world.clock.advance(chrono::TimeDelta::minutes(10));
        world.reconciler.turn().await.unwrap();
        bind.primary.dig(&[&host, "A", "+short"]).trim() == super::bind::LED
    })
    .await;

    world.close(7, 'a').await;
    until_phase(&world, Phase::Gone).await;
    assert_eq!(bind.zone(), before);
    let receipt = world.preview(7).await.receipt.expect("a receipt");
    assert_eq!(
        (receipt.lines[0].what.as_str(), receipt.lines[0].answer.as_str()),
        ("DNS record", "not there")
    );
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert!(world.forge.comment(number(7)).is_some());
}
