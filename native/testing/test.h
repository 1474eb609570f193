// A test is TEST(name) { CHECK(...); CHECK_EQ(a, b); }; the native_tests executable runs all, or those named on its command
// line (substring), prints each failure with file and line, and exits non-zero when any failed.
#pragma once

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace lodge::testing {

struct Case { const char* name; void (*run)(); };
inline std::vector<Case>& cases() { static std::vector<Case> all; return all; }
inline int& failures() { static int count = 0; return count; }
struct Registration { Registration(const char* name, void (*run)()) { cases().push_back({name, run}); } };

inline void fail(const char* file, int line, const std::string& what) {
  ++failures();
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}
template <class A, class B>
void checkEq(const A& a, const B& b, const char* text, const char* file, int line) {
  if (a == b) return;
  std::ostringstream out;
  out << std::hex << std::showbase << text << ": " << +a << " != " << +b;
  fail(file, line, out.str());
}

}  // namespace lodge::testing

#define TEST(name)                                                            \
  static void test_##name();                                                 \
  static ::lodge::testing::Registration registration_##name{#name, test_##name}; \
  static void test_##name()
#define CHECK(condition) \
  do { if (!(condition)) ::lodge::testing::fail(__FILE__, __LINE__, #condition); } while (0)
#define CHECK_EQ(a, b) ::lodge::testing::checkEq((a), (b), #a " == " #b, __FILE__, __LINE__)
