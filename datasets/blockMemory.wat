;; The two loops that touch every byte of a row, sixteen at a time. The memory holds one block of lines at its beginning, with
;; sixteen bytes of padding (blocks.ts), and the hash of a row in its last eight bytes.
(module
  ;; 8 MiB, the longest line, and a page for all else.
  (memory (export "memory") 129)

  ;; The first byte at or after `at` that may end a run of plain text: a quote, a backslash, a control character, or one that is
  ;; not ASCII. There must be one: every line has its ending, or zeros after it.
  (func (export "plainEnd") (param $at i32) (result i32)
    (local $bytes v128)
    (local $marks i32)
    (loop $sixteen
      (local.set $bytes (v128.load (local.get $at)))
      (local.set $marks
        (i8x16.bitmask
          (v128.or
            (v128.or
              (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 0x22)))
              (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 0x5c))))
            ;; With a sign, what is not ASCII is below zero.
            (i8x16.lt_s (local.get $bytes) (i8x16.splat (i32.const 0x20))))))
      (if (i32.eqz (local.get $marks))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br $sixteen))))
    (i32.add (local.get $at) (i32.ctz (local.get $marks))))

  ;; `hashBytes` (hashBytes.ts) of the bytes from `at` to `end`.
  (func (export "hash") (param $at i32) (param $end i32)
    (local $lanes v128)
    (local $a i32)
    (local $b i32)
    (local.set $lanes
      (i32x4.replace_lane 0
        (v128.const i32x4 0 0x85ebca6b 0xc2b2ae35 0x27d4eb2f)
        (i32.xor (i32.const 0x9e3779b9) (i32.sub (local.get $end) (local.get $at)))))
    (block $done
      (loop $sixteen
        (br_if $done (i32.gt_u (i32.add (local.get $at) (i32.const 16)) (local.get $end)))
        (local.set $lanes
          (i32x4.mul
            (v128.xor
              (v128.or
                (i32x4.shl (local.get $lanes) (i32.const 13))
                (i32x4.shr_u (local.get $lanes) (i32.const 19)))
              (v128.load (local.get $at)))
            (v128.const i32x4 0xcc9e2d51 0xcc9e2d51 0xcc9e2d51 0xcc9e2d51)))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $sixteen)))
    (local.set $a (i32x4.extract_lane 0 (local.get $lanes)))
    (local.set $b (i32x4.extract_lane 1 (local.get $lanes)))
    (block $done
      (loop $one
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $a
          (i32.mul
            (i32.xor (i32.rotl (local.get $a) (i32.const 13)) (i32.load8_u (local.get $at)))
            (i32.const 0xcc9e2d51)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $one)))
    (i32.store (i32.const 0x80fff8)
      (call $mix
        (i32.add
          (call $mix (i32.xor (local.get $a) (i32.rotl (i32x4.extract_lane 2 (local.get $lanes)) (i32.const 16))))
          (local.get $b))))
    (i32.store (i32.const 0x80fffc)
      (call $mix
        (i32.add
          (call $mix (i32.xor (local.get $b) (i32.rotl (i32x4.extract_lane 3 (local.get $lanes)) (i32.const 16))))
          (local.get $a)))))

  (func $mix (param $word i32) (result i32)
    (local.set $word
      (i32.mul (i32.xor (local.get $word) (i32.shr_u (local.get $word) (i32.const 16))) (i32.const 0x85ebca6b)))
    (local.set $word
      (i32.mul (i32.xor (local.get $word) (i32.shr_u (local.get $word) (i32.const 13))) (i32.const 0xc2b2ae35)))
    (i32.xor (local.get $word) (i32.shr_u (local.get $word) (i32.const 16)))))
