@echo off
rem The same as start, for Windows with Docker Desktop. NOT RUN YET: it was written and read, never tried on Windows.
setlocal EnableExtensions EnableDelayedExpansion
chcp 65001 >nul
cd /d "%~dp0"

if not exist .env (
  call :fail "フォルダーが広げられていません。" "tar ファイルを広げてできたフォルダーの start.cmd を動かしてください。"
  exit /b 1
)
rem Only what the bundle itself wrote: whatever is set here goes before .env, and Compose reads quotes and comments itself.
for /f "tokens=1,* delims==" %%a in ('findstr /r /b "BUNDLE_ RECIPE= [A-Z]*_IMAGE=" .env') do set "%%a=%%b"
echo マンションポエム（%RECIPE%）

where docker >nul 2>&1
if errorlevel 1 (
  call :fail "Docker が見つかりません。" "Docker Desktop を入れてから、もう一度どうぞ。"
  exit /b 1
)
set "PLATFORM="
for /f "delims=" %%p in ('docker version --format "{{.Server.Os}}/{{.Server.Arch}}" 2^>nul') do set "PLATFORM=%%p"
if not defined PLATFORM (
  call :fail "Docker が動いていません。" "Docker Desktop を開いて、一分ほど待ってから、もう一度どうぞ。"
  exit /b 1
)
if not "%PLATFORM%"=="%BUNDLE_PLATFORM%" (
  call :fail "このパソコンの Docker は %PLATFORM% です。この持ち出し版は %BUNDLE_PLATFORM% 用です。" "%BUNDLE_PLATFORM% のパソコンで使ってください。"
  exit /b 1
)
echo ○ Docker が動いています

for %%n in (%BUNDLE_PARTS%) do (
  call :load %%n
  if errorlevel 1 exit /b 1
)
echo ○ イメージが入っています

echo ・ 動かしています
docker compose up --detach --remove-orphans
if errorlevel 1 (
  call :fail "動かせませんでした。" "上の英語の行に port とあれば、.env の POEM_PORT を 3002 などに変えて、もう一度 start.cmd を動かしてください。"
  exit /b 1
)
for /l %%i in (1,1,15) do (
  docker compose exec -T service python -c "import http.client as h; c = h.HTTPConnection('127.0.0.1', 3001, timeout=4); c.request('GET', '/health'); raise SystemExit(not c.getresponse().status == 200)" >nul 2>&1
  if not errorlevel 1 goto :there
  timeout /t 1 /nobreak >nul
)
:there
rem As 127.0.0.1:3001, or with IPv6 [::]:3001; the port is what stands behind the last colon.
set "WHERE=127.0.0.1:3001"
for /f "delims=" %%p in ('docker compose port service 3001') do set "WHERE=%%p"
set "PORT=%WHERE%"
:behind
if not "%PORT::=%"=="%PORT%" (
  set "PORT=%PORT:*:=%"
  goto :behind
)
set "PAGE=http://%WHERE%"
for %%h in (0.0.0.0 127.0.0.1 [::] [::1]) do if "%WHERE%"=="%%h:%PORT%" set "PAGE=http://localhost:%PORT%"
start "" "%PAGE%"
echo ・ モデルの準備を待っています（ページはもう使えます）
docker compose exec -T service poem-service doctor --hand --wait 300
if errorlevel 1 (
  call :fail "サービスが答えません。" "札や表を書き換えたのなら、元のファイルに戻してください。"
  exit /b 1
)
echo 準備完了  %PAGE%
pause
exit /b 0

rem An image that is there under the bundle's own name is the bundle's own.
:load
set "IMAGE_OF=%~1_IMAGE"
docker image inspect "!%IMAGE_OF%!" >nul 2>&1
if not errorlevel 1 exit /b 0
set "ARCHIVE=images/%~1.tar.gz"
set "WANTED="
for /f "usebackq tokens=1,2" %%h in ("SHA256SUMS") do if "%%i"=="%ARCHIVE%" set "WANTED=%%h"
echo ・ 確かめています: %ARCHIVE%
set "FOUND="
for /f "delims=" %%h in ('certutil -hashfile "%ARCHIVE:/=\%" SHA256 2^>nul ^| findstr /r /x "[0-9a-f ]*"') do set "FOUND=%%h"
if defined FOUND set "FOUND=%FOUND: =%"
if not "%FOUND%"=="%WANTED%" (
  call :fail "%ARCHIVE% がないか、壊れています（途中で切れたか、中身が変わっています）。" "このファイルをもう一度コピーしてください。"
  exit /b 1
)
echo ・ 読み込んでいます: %ARCHIVE%
docker load --quiet --input "%ARCHIVE:/=\%"
if errorlevel 1 (
  call :fail "%ARCHIVE% を読み込めません。" "Docker Desktop の設定でディスクの空きを %BUNDLE_DISK_MIB% MB ほど作り、もう一度 start.cmd を動かしてください。"
  exit /b 1
)
exit /b 0

:fail
echo × %~1
echo    → %~2
pause
exit /b 1
