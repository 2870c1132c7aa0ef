"""One file per engine; `interface` is what each of them offers."""
