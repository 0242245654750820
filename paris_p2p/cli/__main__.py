from paris_p2p.cli import main

main()
