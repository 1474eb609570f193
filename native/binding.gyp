{
  # Targets: `engine` and `fp` (static libraries; a flag set each), `lodge` (the addon) and `native_tests`.
  # LODGE_SANITIZE=thread or address in the environment instruments everything; meant for native_tests: resources/tools/sanitize.mjs.
  "variables": {
    "sanitize%": "<!(node -p \"process.env.LODGE_SANITIZE || ''\")",
  },
  "target_defaults": {
    "cflags_cc!": ["-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-fno-strict-aliasing", "-fno-omit-frame-pointer", "-O3"],
    "cflags_cc": [
      "-std=gnu++20", "-O2", "-g1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden", "-pthread",
      "-fstack-protector-strong", "-fcf-protection=full", "-fno-plt", "-fPIC"
    ],
    "cflags!": ["-O3", "-fno-omit-frame-pointer"],
    "defines": ["_GNU_SOURCE"],
    "include_dirs": ["."],
    "conditions": [
      ["'<(sanitize)' == ''", {
        "defines": ["_FORTIFY_SOURCE=2"],
        "ldflags": ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-pthread"],
      }, {
        "cflags_cc": ["-fsanitize=<(sanitize)"],
        "ldflags": ["-fsanitize=<(sanitize)", "-pthread"],
      }],
    ],
  },
  "targets": [
    {
      "target_name": "engine",
      "type": "static_library",
      "sources": ["<!@(node sources.cjs engine)"],
      "cflags_cc": ["-fno-exceptions"],
    },
    {
      # Functions that hold one guest SIMD or x87 instruction each: x86-64-v2, and no contraction or reordering of them.
      "target_name": "fp",
      "type": "static_library",
      "sources": ["<!@(node sources.cjs fp)"],
      "cflags_cc": ["-fno-exceptions", "-msse4.2", "-mpopcnt", "-ffp-contract=off", "-frounding-math", "-fno-fast-math"],
    },
    {
      "target_name": "lodge",
      "type": "loadable_module",
      "sources": ["<!@(node sources.cjs addon)"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS"],
      "cflags_cc": ["-fexceptions"],
      "dependencies": ["engine", "fp"],
    },
    {
      "target_name": "native_tests",
      "type": "executable",
      "sources": ["<!@(node sources.cjs tests)"],
      "cflags_cc": ["-msse4.2", "-mpopcnt"],
      "dependencies": ["engine", "fp"],
    },
  ],
}
