//! Custom resources with unmodified kubectl.

use coracle_e2e::*;
use serde_json::json;

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.labelSelector}
    additionalPrinterColumns:
    - {name: Spec, type: string, description: When it runs., jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    selectableFields: [{jsonPath: .spec.image}]
    schema:
      openAPIV3Schema:
        type: object
        description: Runs something again and again.
        properties:
          spec:
            type: object
            description: What is wanted.
            properties:
              cronSpec: {type: string, pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$', description: When it runs.}
              image: {type: string}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
          status:
            type: object
            properties: {replicas: {type: integer}, labelSelector: {type: string}}
"#;

const OBJECT: &str = r#"
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: tab}
spec: {cronSpec: "* * * * */5", image: my-image}
"#;

#[test]
fn custom_resources_are_used_as_built_in_ones_are() {
    let cluster = cluster!();
    let namespace = cluster.namespace("custom");
    for program in kubectls() {
        let kubectl = Kubectl::new(cluster, &program, &namespace.name);
        kubectl.apply(DEFINITION);
        kubectl.ok("wait --for=condition=Established crd/crontabs.stable.example.com --timeout=60s");
        assert!(kubectl.apply(OBJECT).contains("crontab.stable.example.com/tab created"));
        assert!(kubectl.apply(OBJECT).contains("unchanged"));
        let listed = kubectl.ok("get ct");
        assert!(listed.contains("NAME") && listed.contains("SPEC") && listed.contains("* * * * */5"), "{listed}");
        assert!(kubectl.ok("get all").contains("crontab.stable.example.com/tab"));
        let explained = kubectl.ok("explain crontab.spec.cronSpec");
        assert!(explained.contains("When it runs.") && explained.contains("string"), "{explained}");
        assert!(kubectl.ok("explain crontab --recursive").contains("replicas"));
        assert!(kubectl.ok("api-resources --api-group=stable.example.com").contains("crontabs"));
        kubectl.ok("scale --replicas=3 crontab/tab");
        assert_eq!(kubectl.ok("get ct tab -o jsonpath={.spec.replicas}"), "3");
        assert_eq!(
            kubectl.ok("get ct --field-selector spec.image=my-image -o name"),
            "crontab.stable.example.com/tab\n"
        );
        assert_eq!(kubectl.ok("get ct --field-selector spec.image=other -o name"), "");
        let refused = kubectl.run(&["patch", "ct", "tab", "--type=merge", "-p", r#"{"spec":{"cronSpec":"never"}}"#]);
        assert!(refused.code != 0 && refused.err.contains("should match"), "{}", refused.err);
        let unknown = kubectl.with_input(
            &format!("{}  wrong: 1\n", OBJECT.replace("spec: {cronSpec: \"* * * * */5\", image: my-image}", "spec:")),
            &["apply", "-f", "-"],
        );
        assert!(unknown.code != 0 && unknown.err.contains("unknown field \"spec.wrong\""), "{}", unknown.err);
        assert!(kubectl.ok("describe ct tab").contains("Cron Spec:"));
        kubectl.ok("label ct tab a=b");
        kubectl.ok("annotate ct tab c=d");
        kubectl.ok("delete crd crontabs.stable.example.com --timeout=60s");
        let gone = kubectl.run(&["get", "ct"]);
        assert!(gone.code != 0, "{}", gone.out);
    }
}

#[test]
fn custom_resources_own_objects_and_go_with_their_namespace() {
    let cluster = cluster!();
    let kept = cluster.namespace("custom-owners");
    let kubectl = kubectl!(cluster, kept);
    let definition = DEFINITION.replace("crontabs", "owners").replace("crontab", "owner").replace("CronTab", "Owner");
    let definition = definition.replace(", shortNames: [ct], categories: [all]", "");
    kubectl.apply(&definition);
    kubectl.ok("wait --for=condition=Established crd/owners.stable.example.com --timeout=60s");
    let object = OBJECT.replace("CronTab", "Owner");
    kubectl.apply(&object);
    let uid = kubectl.ok("get owner tab -o jsonpath={.metadata.uid}");
    let owner = json!([{"apiVersion": "stable.example.com/v1", "kind": "Owner", "name": "tab", "uid": uid}]);
    kept.create("configmaps", &json!({"metadata": {"name": "owned", "ownerReferences": owner}}));
    kubectl.ok("delete owner tab");
    eventually("the owned object goes", || match kept.found("configmaps/owned") {
        Ok(_) => Err("it is there"),
        Err(_) => Ok(()),
    });
    kubectl.apply(&object);
    kubectl.ok(&format!("delete namespace {} --timeout=120s", kept.name));
    assert_eq!(kubectl.ok("get owners -A -o name"), "");
    kubectl.ok("delete crd owners.stable.example.com --timeout=60s");
}
