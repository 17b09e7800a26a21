"""For tests of models, here and in projects that add their own. Needs pytest, which the jobs themselves do not."""
