// The execution trace, as the file that it becomes.
#include "x86/trace.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "testing/test.h"
#include "translator/translator.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace lodge::x86::testing;

constexpr Gpa kCode = 0x11000;

std::string contents(const std::string& path) {
  std::string text;
  std::FILE* const file = std::fopen(path.c_str(), "r");
  CHECK(file != nullptr);
  if (!file) return text;
  for (int c; (c = std::fgetc(file)) != EOF;) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

/**
 * What a trace of the last `last` instructions on one tier says of `code`, which ends with HLT and is run with `points` set until the
 * first is met.
 */
std::string traceOn(bool translated, Gpa at, std::initializer_list<unsigned> code, size_t last, const DebugPoints& points) {
  char path[] = "/tmp/lodge-trace-XXXXXX";
  const int descriptor = ::mkstemp(path);
  CHECK(descriptor >= 0);
  if (descriptor < 0) return {};
  ::close(descriptor);
  {
    Guest g;
    std::string error;
    auto trace = TraceFile::open(path, last, 1, error);
    CHECK(trace != nullptr);
    if (!trace) return {};
    const CpuConfig config{0, 1, 1'000'000'000, nullptr, std::move(trace)};
    g.cpu = translated ? translator::makeTranslator(config, g.memory, g.env) : makeInterpreter(config, g.memory, g.env);
    g.cpu->reset();
    g.enter64(at);
    g.state().gpr[kRcx] = 3;
    g.code(at, code);
    g.cpu->setDebugPoints(points);
    while (g.run() == RunExit::Debug) g.cpu->setDebugPoints({});
    CHECK_EQ(g.state().rip, at + code.size());
  }
  const std::string text = contents(path);
  ::unlink(path);
  return text;
}

/** The same on either. */
std::string traceOf(Gpa at, std::initializer_list<unsigned> code, size_t last, const DebugPoints& points) {
  const std::string text = traceOn(false, at, code, last, points);
  CHECK(traceOn(true, at, code, last, points) == text);
  return text;
}

std::string traceOfLoop(size_t last, const DebugPoints& points) {
  // again: inc eax; loop again; the next instruction crosses into another page: mov ebx, 12345678h; hlt
  return traceOf(kCode + 0xffa, {0xff, 0xc0, 0xe2, 0xfc, 0xbb, 0x78, 0x56, 0x34, 0x12, 0xf4}, last, points);
}

TEST(traceHasEachInstructionAndCountsThem) {
  const std::string wanted =
      "0 0 64.0 0000000000011ffa ff c0 inc eax\n0 1 64.0 0000000000011ffc e2 fc loop 0x11ffa\n"
      "0 2 64.0 0000000000011ffa ff c0 inc eax\n0 3 64.0 0000000000011ffc e2 fc loop 0x11ffa\n"
      "0 4 64.0 0000000000011ffa ff c0 inc eax\n0 5 64.0 0000000000011ffc e2 fc loop 0x11ffa\n"
      "0 6 64.0 0000000000011ffe bb 78 56 34 12 mov ebx, 0x12345678\n0 7 64.0 0000000000012003 f4 hlt\n"
      "# 8 instructions\n";
  const std::string text = traceOfLoop(100, {});
  CHECK(text.substr(0, wanted.size()) == wanted);
  CHECK(text.find("#            3  37.50 % Inc\n") != std::string::npos);
  CHECK(text.find("#            1  12.50 % Hlt\n") != std::string::npos);
  // A debugger that comes and goes changes nothing.
  CHECK(traceOfLoop(100, {{kCode + 0xffc}, {}}) == text);
}

TEST(traceKeepsTheLastInstructionsAndCountsAll) {
  const std::string wanted = "0 6 64.0 0000000000011ffe bb 78 56 34 12 mov ebx, 0x12345678\n0 7 64.0 0000000000012003 f4 hlt\n# 8 instructions\n";
  const std::string text = traceOfLoop(2, {});
  CHECK(text.substr(0, wanted.size()) == wanted);
  CHECK(text.find("#            3  37.50 % Loop\n") != std::string::npos);
}

TEST(traceCountsVectorInstructionsByName) {
  // paddd xmm1,xmm2; paddd xmm1,[rsp-16]; fld1; fadd st(1),st; hlt
  const std::string text = traceOf(kCode, {0x66, 0x0f, 0xfe, 0xca, 0x66, 0x0f, 0xfe, 0x4c, 0x24, 0xf0, 0xd9, 0xe8, 0xdc, 0xc1, 0xf4}, 100, {});
  CHECK(text.find("66 0f fe 4c 24 f0 paddd xmm1, xmmword ptr [rsp-0x10]\n") != std::string::npos);
  CHECK(text.find("#            2  40.00 % paddd\n") != std::string::npos);
  CHECK(text.find("#            1  20.00 % fld1\n") != std::string::npos);
}

TEST(traceSaysWhyItCannotBeWritten) {
  std::string error;
  CHECK(TraceFile::open("/nowhere/at/all", 10, 1, error) == nullptr);
  CHECK(error.find("/nowhere/at/all") != std::string::npos);
}

}  // namespace
}  // namespace lodge::x86
