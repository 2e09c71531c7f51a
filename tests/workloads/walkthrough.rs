//! The walk-through of the README, with every kubectl there is.

use coracle_e2e::*;

#[test]
fn a_deployment_is_made_exposed_changed_undone_scaled_and_deleted() {
    let cluster = cluster!();
    let programs = kubectls();
    if programs.is_empty() {
        skip(Lacks::Tool("there is no kubectl on PATH"));
    }
    for (number, program) in programs.iter().enumerate() {
        let namespace = cluster.namespace(&format!("walk-{number}"));
        walk_through(&namespace, &Kubectl::new(cluster, program, &namespace.name));
    }
}

fn walk_through(namespace: &Namespace<'_>, kubectl: &Kubectl) {
    let nodes = kubectl.ok("get nodes -o wide");
    assert!(nodes.contains("Ready") && nodes.contains("v1.35"), "{nodes}");
    let made = kubectl.ok("create deployment web --image=test:1 --replicas=3");
    assert_eq!(made, "deployment.apps/web created\n");
    let exposed = kubectl.ok("expose deployment web --port=80 --target-port=8080");
    assert_eq!(exposed, "service/web exposed\n");
    let rolled = kubectl.ok("rollout status deployment/web --timeout=60s");
    assert!(rolled.ends_with("deployment \"web\" successfully rolled out\n"), "{rolled}");
    assert_eq!(namespace.run_until_ok(&["wget", "http://web/env?name=VERSION"]), "1\n");

    kubectl.ok("set image deployment/web test=test:2");
    kubectl.ok("rollout status deployment/web --timeout=60s");
    eventually("the new version serves", || match namespace.run(&["wget", "http://web/env?name=VERSION"]) {
        run if run.log == "2\n" => Ok(()),
        run => Err(format!("{run:?}")),
    });
    let history = kubectl.ok("rollout history deployment/web");
    assert!(history.contains("REVISION") && history.contains("\n2 "), "{history}");
    assert_eq!(kubectl.ok("rollout undo deployment/web"), "deployment.apps/web rolled back\n");
    kubectl.ok("rollout status deployment/web --timeout=60s");
    let image = kubectl.ok("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}");
    assert_eq!(image, "test:1");

    assert_eq!(kubectl.ok("scale deployment/web --replicas=1"), "deployment.apps/web scaled\n");
    eventually("one pod is left", || {
        let pods = kubectl.ok("get pods -l app=web -o name");
        if pods.lines().count() == 1 { Ok(()) } else { Err(pods) }
    });
    kubectl.ok("rollout restart deployment/web");
    kubectl.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(
        kubectl.ok("delete service/web deployment/web"),
        "service \"web\" deleted\ndeployment.apps \"web\" deleted\n"
            .replace("\" deleted", &deleted_suffix(kubectl, namespace))
    );
    eventually("all pods are gone", || {
        let pods = kubectl.ok("get pods -l app=web -o name");
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    });
}

/// Newer kubectls name the namespace.
fn deleted_suffix(kubectl: &Kubectl, namespace: &Namespace<'_>) -> String {
    kubectl.ok("create configmap probe");
    let said = kubectl.ok("delete configmap probe");
    let named = format!("\" deleted from {} namespace", namespace.name);
    if said.contains(&named) { named } else { "\" deleted".into() }
}
