// Only what the bundler does not notice: names that nothing defines, and names that nothing uses.
import globals from "globals";

export default [
  {
    files: ["src/**/*.js"],
    languageOptions: { globals: globals.browser },
    rules: { "no-undef": "error", "no-unused-vars": "error" },
  },
];
