//! Objects that an expression makes.

use coracle_cel::{Activation, Budget, CelValue, Environment, Program, Type};
use serde_json::{Value, json};

fn environment() -> Environment {
    Environment::new().variable("object", Type::Dyn).constructing()
}

fn made(expression: &str) -> Result<Value, String> {
    let object = json!({"spec": {"containers": [{"name": "a", "image": "i"}], "replicas": 2}});
    let program = Program::compile(expression, &environment()).map_err(|errors| errors.to_string())?;
    let activation = Activation::new().with("object", CelValue::from_any(&object));
    let mut budget = Budget::default();
    let value = program.evaluate(&activation, &mut budget).map_err(|error| error.to_string())?;
    value.to_json(&mut budget).map_err(|error| error.to_string())
}

#[test]
fn an_object_is_made_of_its_parts() {
    let expression = "Object{spec: Object.spec{replicas: object.spec.replicas + 1, labels: {'a': 'b'}, \
        containers: object.spec.containers.map(c, Object.spec.containers{name: c.name, image: 'new'}), ?none: optional.none()}}";
    assert_eq!(
        made(expression),
        Ok(json!({"spec": {"replicas": 3, "labels": {"a": "b"}, "containers": [{"name": "a", "image": "new"}]}}))
    );
    assert_eq!(made("Object{}"), Ok(json!({})));
    assert_eq!(
        made("has(Object{a: 1}.a) && Object{a: 1}.a == 1 && dyn(Object{a: 1}) != dyn(Object.b{a: 1})"),
        Ok(json!(true))
    );
    let program = Program::compile("Object{a: 1}", &environment()).expect("it compiles");
    assert_eq!(*program.result_type(), coracle_cel::construct::object());
}

#[test]
fn a_part_that_is_elsewhere_is_told() {
    assert_eq!(
        made("Object{spec: Object.status{a: 1}}"),
        Err("type mismatch: unexpected type name \"Object.status\", expected \"Object.spec\", which matches field name path from root Object type".into())
    );
    assert_eq!(made("Object{a: optional.of(1)}"), Err("unsupported conversion of optional_type to JSON".into()));
    assert_eq!(made("Object{a: {1: 2}}"), Err("map key is of type int, not string".into()));
}

#[test]
fn patches_have_their_fields_and_no_others() {
    let patch =
        "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: Object.x{y: 1}}]";
    let program = Program::compile(patch, &environment()).expect("it compiles");
    assert_eq!(*program.result_type(), Type::list(coracle_cel::construct::json_patch()));
    assert_eq!(made("jsonpatch.escapeKey('a/b~c')"), Ok(json!("a~1b~0c")));
    let wrong = |expression: &str| made(expression).expect_err(expression);
    assert!(wrong("JSONPatch{op: 1}").contains("expected type of field 'op' is 'string' but provided type is 'int'"));
    assert!(wrong("JSONPatch{nothing: 1}").contains("undefined field 'nothing'"));
    assert!(wrong("Subject{a: 1}").contains("undeclared reference to 'Subject'"));
}

#[test]
fn objects_are_made_only_where_that_is_meant() {
    for expression in ["Object{a: 1} == null", "jsonpatch.escapeKey('a') == ''"] {
        let plain = Environment::new().variable("object", Type::Dyn);
        assert!(
            Program::compile(expression, &plain).expect_err(expression).to_string().contains("undeclared reference")
        );
    }
}

#[test]
fn what_is_made_has_a_bound() {
    let doubled = (0..40).fold("'x'".to_owned(), |inner, _| format!("[{inner}].map(a, [a, a])"));
    let refused = made(&format!("Object{{a: {doubled}}}"));
    assert!(refused.is_err(), "{refused:?}");
}
