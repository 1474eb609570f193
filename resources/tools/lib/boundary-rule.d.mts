import type { Rule } from 'eslint';
export const boundaryRule: Rule.RuleModule;
