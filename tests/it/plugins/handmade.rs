//! Policies written by hand, as text: for what no guest in a compiled language does, and because no
//! compiler for WebAssembly is at hand where tests run.

use wit_parser::{Resolve, SizeAlign, Type, TypeDefKind};

use super::dummies;

/// A component that calls itself `guard` and takes any settings. `decide` is the body of its decision:
/// `$parameters` is where its parameters are, `now-ms` of the context `offset=NOW` after that, at 128 is
/// the answer that allows everything, and from 256 on there is room for another.
pub(crate) fn policy(decide: &str) -> Vec<u8> {
    edited(|text| text.replace("DECIDE", decide))
}

/// The same with anything about its text changed.
pub(super) fn edited(edit: impl Fn(&str) -> String) -> Vec<u8> {
    edited_in(str::to_owned, &[], edit)
}

/// The same in a changed world, with further packages beside ours.
pub(super) fn edited_in(
    edit_world: impl Fn(&str) -> String,
    packages: &[&str],
    edit: impl Fn(&str) -> String,
) -> Vec<u8> {
    let (resolve, world) = dummies::world("policy-plugin", edit_world, packages);
    let text = edit(TEXT).replace("DECIDE", "").replace("NOW", &offset_of_now(&resolve).to_string());
    dummies::encode(wat::parse_str(text).expect("good text"), &resolve, world)
}

/// Where `decide` finds `context.now-ms` among its parameters, which are too many to be passed singly.
fn offset_of_now(resolve: &Resolve) -> usize {
    let mut sizes = SizeAlign::default();
    sizes.fill(resolve).expect("the interface has sizes");
    let (_, policy) = resolve.interfaces.iter().find(|(_, it)| it.name.as_deref() == Some("policy")).expect("a policy");
    let parameters: Vec<Type> = policy.functions["decide"].params.iter().map(|parameter| parameter.ty).collect();
    let (context, ty) = sizes.field_offsets(&parameters)[1];
    let Type::Id(id) = ty else { panic!("the context is a record") };
    let TypeDefKind::Record(record) = &resolve.types[*id].kind else { panic!("the context is a record") };
    let place = record.fields.iter().position(|field| field.name == "now-ms").expect("the time is there");
    let fields = sizes.field_offsets(record.fields.iter().map(|field| &field.ty));
    context.size_wasm32() + fields[place].0.size_wasm32()
}

const TEXT: &str = r#"
(module
  (import "agent-relay:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "guard")
  (data (i32.const 32) "1.0.0")
  ;; The description: id, version, the one kind of control at 48 (a spawn is 0), no extension.
  (data (i32.const 64) "\10\00\00\00\05\00\00\00\20\00\00\00\05\00\00\00\30\00\00\00\01\00\00\00")
  (global $top (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $wanted i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and
      (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $top (i32.add (local.get $at) (local.get $wanted)))
    (local.get $at))
  (data (i32.const 320) "0123456789abcdeftold")
  (func $deny (param $from i32) (param $bytes i32) (result i32)
    (local $at i32) (local $byte i32)
    (loop $next
      (local.set $byte (i32.load8_u (i32.add (local.get $from) (local.get $at))))
      (i32.store8 (i32.add (i32.const 2048) (i32.shl (local.get $at) (i32.const 1)))
        (i32.load8_u offset=320 (i32.shr_u (local.get $byte) (i32.const 4))))
      (i32.store8 (i32.add (i32.const 2049) (i32.shl (local.get $at) (i32.const 1)))
        (i32.load8_u offset=320 (i32.and (local.get $byte) (i32.const 15))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $bytes))))
    ;; Verdict 2 is a denial; its code is "told".
    (i32.store (i32.const 260) (i32.const 2))
    (i32.store (i32.const 264) (i32.const 336))
    (i32.store (i32.const 268) (i32.const 4))
    (i32.store (i32.const 272) (i32.const 2048))
    (i32.store (i32.const 276) (i32.shl (local.get $bytes) (i32.const 1)))
    (i32.const 256))
  (func (export "agent-relay:plugin/policy@0.1.0#describe") (result i32) (i32.const 64))
  ;; Zeros say that the settings are taken, and that a control is allowed.
  (func (export "agent-relay:plugin/policy@0.1.0#check-settings") (param i32 i32) (result i32) (i32.const 128))
  (func (export "agent-relay:plugin/policy@0.1.0#decide") (param $parameters i32) (result i32)
    DECIDE
    (i32.const 128)))
"#;
