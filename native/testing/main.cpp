#include <cstring>

#include "testing/test.h"

int main(int argc, char** argv) {
  unsigned run = 0, failed = 0;
  for (const auto& test : lodge::testing::cases()) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted |= std::strstr(test.name, argv[i]) != nullptr;
    if (!wanted) continue;
    const int before = lodge::testing::failures();
    test.run();
    ++run;
    if (lodge::testing::failures() != before) {
      ++failed;
      std::fprintf(stderr, "FAILED %s\n", test.name);
    }
  }
  std::printf("%u tests, %u failed\n", run, failed);
  if (run == 0) std::fprintf(stderr, "No test matches.\n");
  return failed != 0 || run == 0;
}
