"""Python's own tests of the modules named, one line for each test: its name and what became of it."""
import importlib
import sys
import unittest


class Lines(unittest.TestResult):
    def tell(self, test, what):
        print(test.id(), what)

    def addSuccess(self, test):
        self.tell(test, 'ok')

    def addSkip(self, test, reason):
        self.tell(test, 'skipped')

    def addExpectedFailure(self, test, error):
        self.tell(test, 'fails as expected')

    def addUnexpectedSuccess(self, test):
        self.tell(test, 'succeeds unexpectedly')

    def addFailure(self, test, error):
        self.tell(test, f'FAILED {error[0].__name__} {error[1]}')

    addError = addFailure

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.tell(subtest, f'FAILED {error[0].__name__} {error[1]}')


result = Lines()
for name in sys.argv[1:]:
    module = importlib.import_module(f'test.test_{name}')
    if name == 'decimal':
        # Its cases are for both implementations; the classes they derive from cannot run, and how signatures look is the build's.
        for implementation in module.C, module.P:
            module.init(implementation)
        for case in module.all_tests:
            if case is module.SignatureTest:
                continue
            unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    else:
        unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
print('tests', result.testsRun)
