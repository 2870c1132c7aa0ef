"""Speed against bare Triton, one command each; results are kept with the machine they ran on."""
