//! Policies made up from a seed, as an interpreter of the documented rules sees them and as packets do.

mod interpreter;
mod packets;
mod world;

use coracle_values::addresses::Family;

use super::policy::Policy;
use super::state::State;
use interpreter::{Connection, is_allowed};
use world::{Dice, PODS, World};

const SEED: u64 = 20_261_129;
const PROTOCOLS: [u8; 3] = [6, 17, 132];
const PORTS: [u16; 2] = [80, 81];

/// Every connection that there can be in the world.
fn connections() -> impl Iterator<Item = (usize, usize, u8, u16)> {
    let pairs = (0..PODS).flat_map(|client| (0..PODS).map(move |server| (client, server)));
    let protocols = pairs.flat_map(|(client, server)| PROTOCOLS.map(|protocol| (client, server, protocol)));
    protocols.flat_map(|(client, server, protocol)| PORTS.map(|port| (client, server, protocol, port)))
}

fn allowed(world: &World, (client, server, protocol, port): (usize, usize, u8, u16)) -> bool {
    is_allowed(world, Connection { client, server, protocol, port })
}

/// Brings the state up to the world, of which something changed.
fn tell(state: &mut State, world: &World) {
    for namespace in world.namespaces() {
        state.set_namespace(&namespace, world.namespace_labels(&namespace));
    }
    for pod in 0..PODS {
        state.set_pod(&world.key(pod), world.seen(pod));
    }
    for (key, object) in &world.policies {
        state.set_policy(key, object.as_ref().map(Policy::read));
    }
}

#[test]
fn what_is_allowed_follows_every_change_as_the_documented_rules_say() {
    let mut dice = Dice(SEED);
    for family in Family::ALL.into_iter().cycle().take(8) {
        let mut world = World::new(&mut dice, family);
        let mut state = State::new(&[family]);
        state.knows_pods(true);
        for _ in 0..25 {
            world.change(&mut dice);
            tell(&mut state, &world);
            for connection in connections() {
                let (client, server, protocol, port) = connection;
                let (Some(from), Some(to)) = (world.address(client), world.address(server)) else { continue };
                let expected = allowed(&world, connection);
                assert_eq!(state.allows(protocol, from, (to, port)), expected, "{connection:?} of {world:#?}");
            }
        }
    }
}
